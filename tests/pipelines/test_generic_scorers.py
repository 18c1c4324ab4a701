"""steer-batch with scorers that know no user, beside those that do: real Ray, a random PickScore."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines.planning.preflight import wanted
from pipelines.planning.roles import check_scorers, scorer_roles
from pipelines.settings.scorer import SCORERS, GenericSettings, generic
from pipelines.settings.settings import load_settings, reproducibility_key
from predictor.encoders.encoding import EncoderNames
from tests.checkpoints import tiny_clip, tiny_siglip
from tests.pipelines.conftest import Steer
from tests.pipelines.console import small
from tests.pipelines.predictors import train


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("clip"))


def pickscore(clip: Path) -> tuple[object, ...]:
    keys = ("--set", f"generic.pickscore.model={clip}", "--set", f"generic.pickscore.processor={clip}")
    return ("--scorer", "pickscore", *keys)


def test_each_scorer_steers_on_its_own_scale_and_one_without_users_once_a_prompt(
    steer: Steer, checkpoint: Path, prompts: Path, clip: Path, tmp_path: Path
) -> None:
    scorers = ("--scorer", "pamela", "--scorer", "population", *pickscore(clip))
    options = (*small(checkpoint, prompts, tmp_path / "run"), "--iterations", 1, *scorers)

    done = steer(*options)
    before = [(tmp_path / "run" / f"{name}.parquet").read_bytes() for name in ("candidates", "trajectories")]
    (tmp_path / "run" / "journal.jsonl").write_text(
        "".join((tmp_path / "run" / "journal.jsonl").read_text("utf-8").splitlines(keepends=True)[:9]), "utf-8"
    )
    resumed = steer("--resume", "--out", tmp_path / "run")

    assert (done.returncode, resumed.returncode) == (0, 0), done.stderr + resumed.stderr
    assert "mean gain by pamela +" in done.stderr
    assert "mean gain by pickscore +" in done.stderr
    after = [(tmp_path / "run" / f"{name}.parquet").read_bytes() for name in ("candidates", "trajectories")]
    assert after == before
    rows = pq.read_table(tmp_path / "run" / "trajectories.parquet").to_pylist()
    steered = {name: [row for row in rows if row["scorer"] == name] for name in ("pamela", "population", "pickscore")}
    assert {name: len(found) for name, found in steered.items()} == {"pamela": 8, "population": 2, "pickscore": 2}
    assert {row["user"] for row in steered["pickscore"]} == {"*"}
    assert all(0 <= row["final_score"] <= 1 for row in steered["pamela"])
    assert len({row["final_score"] for row in steered["pickscore"]}) > 1
    about = json.loads((tmp_path / "run" / "run.json").read_text("utf-8"))
    assert about["scorers"]["pickscore"]["values"] == "about 15 to 25"
    assert about["settings"]["generic"]["pickscore"]["model"] == str(clip)
    page = (tmp_path / "run" / "gallery.html").read_text("utf-8")
    assert "pickscore" in page
    assert "everyone" in page


def test_a_run_without_the_predictor_needs_neither_users_nor_a_checkpoint(
    steer: Steer, prompts: Path, clip: Path, tmp_path: Path
) -> None:
    size = ("--candidates", 2, "--iterations", 1, "--set", "renderer.size=64", "--set", "renderer.actors=1")

    done = steer("--prompts", prompts, "--out", tmp_path / "run", *size, *pickscore(clip))
    again = steer("--resume", "--out", tmp_path / "run")

    assert (done.returncode, again.returncode) == (0, 0), done.stderr + again.stderr
    about = json.loads((tmp_path / "run" / "run.json").read_text("utf-8"))
    assert about["checkpoint"] is None
    assert about["users"] == [{"user": "*", "members": []}]


def test_a_predictor_that_is_named_beside_a_scorer_that_needs_none_serves_the_guards(
    steer: Steer, prompts: Path, clip: Path, tmp_path: Path
) -> None:
    predictor = train(tmp_path, EncoderNames(image=str(tiny_siglip(tmp_path / "siglip", text_dimensions=32))))
    guards = ("--set", "protocol.guards={image: reject, held_out: reject}")
    options = (*small(predictor, prompts, tmp_path / "run"), "--iterations", 1, *pickscore(clip), *guards)

    planned = steer(*options, "--dry-run")
    done = steer(*options)
    before = (tmp_path / "run" / "judgements.parquet").read_bytes()
    (tmp_path / "run" / "journal.jsonl").write_text("", "utf-8")
    again = steer("--resume", "--out", tmp_path / "run")

    assert (done.returncode, again.returncode) == (0, 0), done.stderr + again.stderr
    assert f"predictor     {predictor}" in planned.stdout
    assert (tmp_path / "run" / "judgements.parquet").read_bytes() == before
    rows = pq.read_table(tmp_path / "run" / "judgements.parquet").to_pylist()
    bases = [row for row in rows if row["iteration"] == 0]
    assert [row["user"] for row in bases] == ["*", "*"]
    assert all(0 <= row["held_out"] <= 1 and -1 <= row["subject_similarity"] <= 1 for row in bases)
    about = json.loads((tmp_path / "run" / "run.json").read_text("utf-8"))
    assert about["checkpoint"] == str(predictor.resolve())
    assert not [line for line in about["warnings"] if "guard is off" in line]


@pytest.mark.parametrize("guard", ["image", "held_out"])
def test_a_predictor_is_wanted_by_a_guard_only_where_one_is_named(guard: str) -> None:
    guards, pool = f"protocol.guards={{{guard}: warn}}", "scorer={actors: 1, num_gpus: 1}"
    plain, named = {"protocol.name": "paper", "scorers": ("pickscore",)}, {"predictor": "checkpoint"}

    assert wanted(load_settings("embedded", [guards, pool], plain | named)) == {"GPU": 1}
    assert wanted(load_settings("embedded", [guards, pool], plain)) == {}
    assert wanted(load_settings("embedded", [pool], plain | named)) == {}


def test_a_scorer_whose_library_is_missing_is_refused_before_anything_starts(
    steer: Steer, prompts: Path, tmp_path: Path
) -> None:
    done = steer("--prompts", prompts, "--out", tmp_path / "run", "--scorer", "hpsv3")

    assert done.returncode == 2
    assert "scorer hpsv3: no module 'hpsv3'" in " ".join(done.stderr.split())
    assert not (tmp_path / "run").exists()


def test_an_environment_that_is_not_there_is_refused() -> None:
    settings = load_settings("embedded", ["generic.laion.python=/gone/bin/python"], {"scorers": ("laion",)})

    with pytest.raises(ValueError, match=r"generic\.laion\.python: no such file '/gone/bin/python'"):
        check_scorers(settings)


def test_every_scorer_there_is_has_settings_a_class_and_a_pool_of_its_own(tmp_path: Path) -> None:
    settings = load_settings("embedded", ["generic.q-align.num_gpus=0.5"], {"scorers": tuple(SCORERS)})

    roles = scorer_roles(settings, tmp_path)

    assert list(roles) == list(SCORERS)
    assert roles["pamela"] is roles["population"]
    assert len({role.name for role in roles.values()}) == len(SCORERS) - 1
    assert (roles["q-align"].num_gpus, roles["q-align-iqa"].num_gpus) == (0.5, 0)
    for role in roles.values():
        assert role.make(**role.arguments)
    names = {field.alias or name for name, field in GenericSettings.model_fields.items()}
    assert names == {*generic(tuple(SCORERS)), "own"}


def test_where_a_generic_scorer_runs_decides_nothing_and_its_model_does() -> None:
    keys = ["generic.deqa.python=/x/bin/python", "generic.deqa.num_gpus=1", "generic.deqa.setup_timeout_s=9"]
    before, moved, other = (
        reproducibility_key(load_settings("embedded", more, {"scorers": ("deqa",)}))
        for more in ([], keys, ["generic.deqa.model=me/mine"])
    )

    assert before == moved != other
    assert set(before["generic"]) == {"deqa"}


def test_settings_of_scorers_are_closed_and_read_back(tmp_path: Path) -> None:
    settings = load_settings("embedded", ["generic.q-align.dtype=8bit"], {"scorers": ("q-align", "pamela")})

    assert load_settings("embedded", recorded=settings.model_dump(mode="json")) == settings
    with pytest.raises(ValueError, match=r"unknown setting 'generic.q-align.size'; there are actors, .*dtype"):
        load_settings("embedded", ["generic.q-align.size=3"])
    with pytest.raises(ValueError, match=r"unknown setting 'generic.laoin'; there are laion, q-align, .*pickscore"):
        load_settings("embedded", ["generic.laoin.actors=3"])


def test_a_scorer_of_ones_own_steers_by_its_import_path(
    steer: Steer, checkpoint: Path, prompts: Path, tmp_path: Path
) -> None:
    name = "tests.pipelines.toys:Brightness"
    own = ("--scorer", name, "--set", f'generic.own={{"{name}": {{arguments: {{darker: true}}, timeout_s: 60}}}}')

    done = steer(*small(checkpoint, prompts, tmp_path / "run"), "--iterations", 1, *own)

    assert done.returncode == 0, done.stderr
    rows = pq.read_table(tmp_path / "run" / "trajectories.parquet").to_pylist()
    assert {(row["user"], row["scorer"]) for row in rows} == {("*", name)}
    assert all(-1 <= row["initial_score"] <= row["final_score"] <= 0 for row in rows)
    resumed = steer("--resume", "--out", tmp_path / "run")
    assert resumed.returncode == 0, resumed.stderr
    other = steer("--resume", "--out", tmp_path / "run", "--set", "generic.own={}")
    assert "darker was true, is" in " ".join(other.stderr.split())


@pytest.mark.parametrize(
    "name, words",
    [
        (
            "nowhere:Scorer",
            "cannot be imported (ModuleNotFoundError: No module named 'nowhere')",
        ),
        ("tests.pipelines.toys:Nobody", "cannot be imported (AttributeError"),
        ("json:dumps", "has no setup and no score"),
        ("nobody", "unknown scorer 'nobody'; known are pamela, "),
    ],
)
def test_what_is_no_scorer_is_refused_before_anything_starts(
    name: str, words: str, steer: Steer, checkpoint: Path, prompts: Path, tmp_path: Path
) -> None:
    done = steer(*small(checkpoint, prompts, tmp_path / "run"), "--scorer", name)

    assert done.returncode == 2
    assert words in " ".join(done.stderr.split())
    assert not (tmp_path / "run").exists()
