import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipelines.settings.placement import Placement
from pipelines.settings.settings import (
    PRESETS,
    Settings,
    differences,
    fingerprint,
    load_settings,
    preset_names,
    reproducibility_key,
)

ROLES = ("renderer", "proposer", "scorer")

OTHER_PLACE: dict[str, Any] = {
    "actors": 7,
    "num_cpus": 3,
    "num_gpus": 0.25,
    "resources": {"fast": 1.0},
    "in_flight": 9,
    "timeout_s": 11.5,
    "setup_timeout_s": 12.5,
    "startup_s": 7.0,
    "seconds_per_call": 9.5,
}


@pytest.mark.parametrize("name", sorted(path.name for path in PRESETS.iterdir()))
def test_every_preset_that_ships_loads_by_name_and_as_a_file(name: str) -> None:
    stem = name.removesuffix(".yaml")

    assert load_settings(stem).preset == stem
    assert reproducibility_key(load_settings(stem)) == reproducibility_key(load_settings(str(PRESETS / name)))


def test_the_embedded_preset_decides_what_the_defaults_decide_but_for_a_guard_that_its_predictor_lacks() -> None:
    embedded = reproducibility_key(load_settings("embedded", ["protocol.guards.image=warn"]))

    assert embedded == reproducibility_key(Settings())


def test_an_unknown_preset_is_refused_with_those_there_are(tmp_path: Path) -> None:
    for preset in ("embeded", "", str(tmp_path), str(tmp_path / "gone.yaml"), "../presets/embedded"):
        with pytest.raises(ValueError, match=r"unknown preset .*known are .*embedded"):
            load_settings(preset)


@pytest.mark.parametrize(
    "text, message",
    [
        ("- a\n- b\n", "a preset is a mapping of settings, got list"),
        ("a: b: c\n", "not YAML"),
        ("renderer: {sise: 3}\n", r"unknown setting 'renderer\.sise'; there are .*size"),
        ("proposer: {sise: 3}\n", r"unknown setting 'proposer.*sise'"),
        ("render: {size: 64}\n", r"unknown setting 'render'; there are .*renderer"),
        ("renderer:\n", r"setting renderer: .*, got None"),
        ("1: 2\n", "setting 1: keys should be strings"),
        ("seed: -1\n", "setting seed: .* greater than or equal to 0, got -1"),
        ("seed: 2024-13-45\n", "not YAML"),
        ("scorers: []\n", "name each scorer once, got none"),
    ],
)
def test_a_preset_file_that_does_not_fit_is_refused_in_one_line_that_names_the_key(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)

    with pytest.raises(ValueError, match=message) as refused:
        load_settings(str(path))

    assert "\n" not in str(refused.value)


def test_a_preset_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes("seed: 1".encode("utf-16"))

    with pytest.raises(ValueError, match=r"mine\.yaml: not YAML"):
        load_settings(str(path))


def test_an_empty_preset_file_means_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "mine.yml"
    path.write_text("# nothing yet\n")

    assert reproducibility_key(load_settings(str(path))) == reproducibility_key(Settings())


def test_a_preset_that_changes_one_guard_keeps_the_others_of_its_protocol(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("protocol: {guards: {drift: reject, reseed: off}}\n")

    guards = load_settings(str(path)).protocol.guards

    assert (guards.drift, guards.reseed) == ("reject", "off")
    assert (guards.subject, guards.held_out) == ("reject", "warn")


def test_options_override_set_and_set_overrides_the_preset(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("seed: 1\nruns: 2\nprotocol: {candidates: 3, patience: 4}\n")

    settings = load_settings(
        str(path), ["runs=5", "protocol.candidates=6", "runs=7"], {"protocol.candidates": 8, "scorers": ("population",)}
    )

    assert (settings.seed, settings.runs) == (1, 7)
    assert (settings.protocol.candidates, settings.protocol.patience) == (8, 4)
    assert settings.scorers == ("population",)


@pytest.mark.parametrize(
    "override, key, value",
    [
        ("seed=42", "seed", 42),
        (" seed = 42 ", "seed", 42),
        ("renderer.timeout_s=1.5", "renderer.timeout_s", 1.5),
        ("renderer.timeout_s=1e-3", "renderer.timeout_s", 0.001),
        ("renderer.photos=~/my photos", "renderer.photos", "~/my photos"),
        ("renderer.photos='2024'", "renderer.photos", "2024"),
        ("renderer.photos=2024-13-45", "renderer.photos", "2024-13-45"),
        ("renderer.photos=a=b", "renderer.photos", "a=b"),
        ("renderer.photos=null", "renderer.photos", None),
        ("renderer.photos=", "renderer.photos", None),
        ("scorers=[population, pamela]", "scorers", ("population", "pamela")),
        ("scorer.resources={fast: 1}", "scorer.resources", {"fast": 1.0}),
        ("scorer.resources.fast=2", "scorer.resources", {"fast": 2.0}),
        ("protocol={patience: 9}", "protocol.patience", 9),
        ("protocol.guards.drift=off", "protocol.guards.drift", "off"),
    ],
)
def test_set_takes_numbers_text_and_nested_keys(override: str, key: str, value: object) -> None:
    found: Any = load_settings("embedded", [override])
    for part in key.split("."):
        found = getattr(found, part)

    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "override, message",
    [
        ("seed", "must be KEY=VALUE"),
        ("=3", "must be KEY=VALUE"),
        ("sed=3", "unknown setting 'sed'; there are seed, "),
        ("renderer.sise=3", r"unknown setting 'renderer\.sise'.*; did you mean renderer\.size\?"),
        ("candidates=3", r"unknown setting 'candidates'.*; did you mean protocol\.candidates\?"),
        ("zzz=3", r"unknown setting 'zzz'; there are .*generic$"),
        ("renderer.size.x=3", "'size' is a single value and has no keys"),
        ("renderer=3", "setting renderer: .*got 3"),
        ("seed=many", "setting seed: .*integer.*got 'many'"),
        ("seed=1.5", "setting seed: .*integer.*got 1.5"),
        ("seed=", "setting seed: .*got None"),
        ("renderer.size=16", "setting renderer.size: .*greater than or equal to 32, got 16"),
        ("renderer.kind=camera", "setting renderer.*'camera'"),
        ("renderer.timeout_s=0", "setting renderer.timeout_s: .*greater than 0, got 0"),
        ("protocol.patience=0", "setting protocol.patience: .*got 0"),
        ("scorers=pamela", "setting scorers: .*got 'pamela'"),
        ("scorers=[pamela, laoin]", "unknown scorer 'laoin'; known are pamela, population"),
        ("scorers=[pamela, pamela]", "name each scorer once"),
    ],
)
def test_a_set_that_does_not_fit_is_refused_in_one_line_that_names_the_key(override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        load_settings("embedded", [override])

    assert "\n" not in str(refused.value)


def test_a_resumed_run_takes_its_recorded_settings_and_leaves_them_alone() -> None:
    recorded = load_settings("embedded", ["seed=5", "renderer.size=64"]).model_dump(mode="json")
    before = repr(recorded)

    settings = load_settings("embedded", ["renderer.actors=8"], {"runs": 2}, recorded=recorded)

    assert (settings.seed, settings.renderer.width, settings.renderer.actors, settings.runs) == (5, 64, 8, 2)
    assert repr(recorded) == before


def test_settings_that_are_written_down_read_back_as_they_were() -> None:
    settings = load_settings("embedded", ["scorers=[pamela, population]", "scorer.resources={fast: 0.5}"])

    assert load_settings("embedded", recorded=settings.model_dump(mode="json")) == settings


def test_no_placement_enters_what_decides_the_records() -> None:
    assert set(OTHER_PLACE) == set(Placement.model_fields)
    for role in ROLES:
        for key, value in OTHER_PLACE.items():
            moved = load_settings("embedded", options={f"{role}.{key}": value})
            assert moved != load_settings("embedded")
            assert reproducibility_key(moved) == reproducibility_key(load_settings("embedded"))


def test_everything_but_placement_enters_what_decides_the_records() -> None:
    settings = load_settings("embedded")

    values = reproducibility_key(settings)

    assert set(values) == set(type(settings).model_fields) - {
        *("preset", "predictor", "title", "nodes_timeout_s", "give_up_after_s", "price_per_gpu_hour"),
        *("end_command", "end_webhook_env", "text_encoder", "feature_extractor", "tracking", "tracking_project"),
    }
    assert set(values["protocol"]) == set(type(settings.protocol).model_fields)
    for role in ROLES:
        assert set(values[role]) == set(type(getattr(settings, role)).model_fields) - set(Placement.model_fields)


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "runs=2",
        "scorers=[population]",
        "protocol.candidates=3",
        "protocol.iterations=0",
        "protocol.patience=1",
        "renderer.size=64",
        "renderer.photos=x",
    ],
)
def test_a_setting_that_decides_the_records_changes_the_fingerprint_and_is_named(override: str) -> None:
    before, now = (
        reproducibility_key(load_settings("embedded")),
        reproducibility_key(load_settings("embedded", [override])),
    )

    assert fingerprint(before) != fingerprint(now)
    (line,) = differences(before, now)
    assert line.startswith(f"{override.partition('=')[0]} was ")


def test_the_fingerprint_does_not_depend_on_the_order_of_keys() -> None:
    assert fingerprint({"a": 1, "b": {"c": 2, "d": 3}}) == fingerprint({"b": {"d": 3, "c": 2}, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": "1"})


def test_differences_name_nested_keys_in_order_with_both_values() -> None:
    before = {"seed": 0, "protocol": {"candidates": 20, "patience": 2}, "users": ["a"] * 40, "old": 1}
    now = {"seed": 0, "protocol": {"candidates": 10, "patience": 2}, "users": [], "new": "ü"}

    assert differences(before, before) == []
    assert differences(before, now) == [
        'new was null, is "ü"',
        "old was 1, is null",
        "protocol.candidates was 20, is 10",
        f"users was {str(['a'] * 40).replace(chr(39), chr(34))[:57]}…, is []",
    ]


def test_preset_names_are_those_of_the_files() -> None:
    assert "embedded" in preset_names()
    assert preset_names() == sorted(path.stem for path in PRESETS.iterdir())


def test_settings_are_read_without_loading_torch_or_ray() -> None:
    code = (
        "import sys, pipelines.settings.settings as s; s.load_settings('embedded');"
        "print([name for name in ('torch', 'ray', 'transformers', 'duckdb', 'numpy') if name in sys.modules])"
    )

    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert said.strip() == "[]"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("renderer.resources={CPU: 1}", "setting renderer.resources: CPU is no custom resource; set num_cpus"),
        ("renderer.resources={big: 0}", "setting renderer.resources: big must be more than 0, got 0"),
        ("renderer.num_gpus=1.5", "setting renderer.num_gpus: must be a whole number above 1, got 1.5"),
        ("renderer.num_gpus=0.00001", "setting renderer.num_gpus: must be a multiple of 0.0001, got 1e-05"),
    ],
)
def test_what_ray_could_not_reserve_is_refused(override: str, said: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        load_settings("embedded", [override])
