from pathlib import Path

import pytest

from actors.scorers.plugins import is_own, own_scorer


def test_an_installed_package_offers_a_scorer_by_its_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bright_scorer.py").write_text(
        "class Bright:\n    def setup(self): ...\n    def score(self, request, rendering): return 1.0\n"
    )
    about = tmp_path / "bright_scorer-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: bright-scorer\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[pamela_steer.scorers]\nbrightness = bright_scorer:Bright\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    assert is_own("brightness")
    assert own_scorer("brightness") is own_scorer("bright_scorer:Bright")
    assert not is_own("darkness")


def test_a_module_that_fails_when_it_is_imported_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_scorer.py").write_text("raise RuntimeError('two\\nlines')\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    with pytest.raises(
        ValueError, match=r"scorer broken_scorer:A: cannot be imported \(RuntimeError: lines\)"
    ) as error:
        own_scorer("broken_scorer:A")
    assert "\n" not in str(error.value)
