"""The command as a user would type it: in this process, and where it matters in its own."""

import csv
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from predictor.checkpoint import FILES
from predictor.cli import main
from predictor.predictor import PamelaPredictor
from tests.pipelines.console import core_seconds

Steer = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def steer_predictor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Steer:
    """Call what the console script calls."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = ["steer-predictor", *map(str, arguments)]
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", command)
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        status = left.value.code or 0
        assert isinstance(status, int)
        return subprocess.CompletedProcess(command, status, *capsys.readouterr())

    return run


def in_its_own_process(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The installed console script."""
    command = [Path(sys.executable).parent / "steer-predictor", *arguments]
    return subprocess.run(list(map(str, command)), check=False, capture_output=True, text=True, timeout=120)


def test_from_images_to_scores(steer_predictor: Steer, images: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    simulated = steer_predictor("simulate", images, "--raters", 4, "--per-image", 4)
    assert (simulated.returncode, simulated.stdout) == (0, f"{images}: a dataset with ratings by 4 raters\n")
    trained = steer_predictor("train", images, "--out", checkpoint, "--without", "text+metadata")
    assert trained.returncode == 0, trained.stderr
    assert trained.stdout.startswith("# PAMELA predictor: simulated-4-raters")
    assert "encoding images: 10/10\n" in trained.stderr
    assert {path.name for path in checkpoint.iterdir()} == set(FILES)
    known = steer_predictor("info", checkpoint)
    assert known.returncode == 0
    assert "user_id,age,gender,nationality\nu01," in known.stdout
    named = sorted(images.glob("*.png"))[:3]
    scored = steer_predictor("score", checkpoint, "--user", "u02", *named)
    assert scored.returncode == 0, scored.stderr
    rows = list(csv.DictReader(io.StringIO(scored.stdout)))
    assert [row["image"] for row in rows] == [str(path) for path in named]
    assert len({float(row["score"]) for row in rows}) == 3
    assert steer_predictor("score", checkpoint, "--user", "u02", named[2]).stdout.splitlines()[1:] == [
        scored.stdout.splitlines()[3]
    ]


def test_the_population_can_be_asked_and_a_prompt_be_given(steer_predictor: Steer, saved: Path, rated: Path) -> None:
    asked = [
        steer_predictor("score", saved, "--user", "*", rated / "000.png"),
        steer_predictor("score", saved, "--user", "u01", rated / "000.png"),
        steer_predictor("score", saved, "--user", "u01", "--prompt", "fog", rated / "000.png"),
    ]
    assert [run.returncode for run in asked] == [0, 0, 0]
    assert len({run.stdout for run in asked}) == 3


def test_a_new_person_is_added_to_the_very_checkpoint_and_then_scored_for(
    steer_predictor: Steer, checkpoint: Path, rated: Path
) -> None:
    file = checkpoint.parent / "ada.csv"
    file.write_text("image,rating\n" + "".join(f"{rated / f'{n:03d}.png'},{1 + n % 7}\n" for n in range(15)), "utf-8")
    weights = (checkpoint / "model.safetensors").read_bytes()
    given = ("--user", "ada", "--ratings", file, "--scale", "1,7", "--demographic", "age=31", "--out", checkpoint)
    enrolled = steer_predictor("enroll", checkpoint, *given)
    assert enrolled.returncode == 0, enrolled.stderr
    assert enrolled.stdout.startswith(f"{checkpoint}: knows ada from 15 answers; error of a predicted preference ±")
    assert (checkpoint / "model.safetensors").read_bytes() == weights
    assert {path.name for path in checkpoint.iterdir()} == set(FILES)
    asked = (rated / "020.png", rated / "021.png")
    scored = steer_predictor("score", checkpoint, "--user", "ada", *asked)
    assert scored.returncode == 0, scored.stderr
    scores = [float(row["score"]) for row in csv.DictReader(io.StringIO(scored.stdout))]
    loaded = PamelaPredictor.from_pretrained(checkpoint)
    expected = loaded.score([Image.open(path) for path in asked], loaded.person("ada"))
    assert scores == pytest.approx(expected.tolist(), abs=1e-6)
    assert loaded.users["age"][-1].as_py() == 31
    assert "\nada,31,,\n" in steer_predictor("info", checkpoint).stdout
    again = steer_predictor("enroll", checkpoint, *given)
    assert (again.returncode, again.stderr) == (
        2,
        "steer-predictor: --user ada: is in the checkpoint already; name the new person otherwise, or add to "
        "what they answered by --update\n",
    )


def test_the_users_are_printed_as_csv_whatever_their_demographics_hold(
    steer_predictor: Steer, checkpoint: Path, rated: Path
) -> None:
    file = checkpoint.parent / "ada.csv"
    file.write_text(f"image,liked\n{rated / '000.png'},1\n", "utf-8")
    given = ("--user", "ada", "--likes", file, "--out", checkpoint)
    told = 'nationality=Congo, "Democratic" Republic'
    assert steer_predictor("enroll", checkpoint, *given, "--demographic", told).returncode == 0
    _, head, table = steer_predictor("info", checkpoint).stdout.rpartition("user_id,")
    rows = list(csv.DictReader(io.StringIO(head + table)))
    assert rows[-1] == {"user_id": "ada", "age": "", "gender": "", "nationality": 'Congo, "Democratic" Republic'}


def test_a_person_is_learnt_from_clicks_and_later_more_and_then_forgotten(
    steer_predictor: Steer, checkpoint: Path, rated: Path
) -> None:
    likes, choices, more = (checkpoint.parent / name for name in ("likes.csv", "choices.csv", "more.csv"))
    image = [rated / f"{n:03d}.png" for n in range(12)]
    likes.write_text(f"image,liked\n{image[0]},1\n{image[1]},no\n", "utf-8")
    four = " ".join(map(str, image[2:6]))
    choices.write_text(f"shown,chosen,worst\n{four},{image[3]},{image[5]}\n{image[6]} {image[7]},,\n", "utf-8")
    more.write_text(f"shown,chosen\n{image[8]} {image[9]},{image[9]}\n", "utf-8")
    given = ("--user", "ada", "--out", checkpoint)
    first = steer_predictor("enroll", checkpoint, *given, "--likes", likes, "--choices", choices)
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith(f"{checkpoint}: knows ada from 4 answers; error of a predicted preference ±")
    second = steer_predictor("enroll", checkpoint, *given, "--choices", more, "--update")
    assert second.returncode == 0, second.stderr
    assert second.stdout.startswith(f"{checkpoint}: knows ada from 5 answers; error of a predicted preference ±")
    kinds = PamelaPredictor.from_pretrained(checkpoint).evidence["kind"].to_pylist()
    assert kinds == ["choice", "pair", "like", "like", "pair"]
    gone = steer_predictor("forget", checkpoint, *given)
    assert (gone.returncode, gone.stdout) == (0, f"{checkpoint}: does not know ada\n")
    assert "\nada," not in steer_predictor("info", checkpoint).stdout
    again = steer_predictor("forget", checkpoint, *given)
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    assert "unknown user 'ada'; the checkpoint knows u01" in again.stderr


def test_scores_come_with_intervals_if_they_are_asked_for(steer_predictor: Steer, saved: Path, rated: Path) -> None:
    scored = steer_predictor("score", saved, "--user", "u01", "--interval", 80, rated / "000.png", rated / "001.png")
    assert scored.returncode == 0, scored.stderr
    for row in csv.DictReader(io.StringIO(scored.stdout)):
        assert 0 <= float(row["low"]) < float(row["score"]) < float(row["high"]) <= 1


def test_a_file_whose_name_is_no_text_is_scored_all_the_same(
    steer_predictor: Steer, saved: Path, rated: Path, tmp_path: Path
) -> None:
    odd = tmp_path / os.fsdecode(b"caf\xe9.png")
    shutil.copy(rated / "000.png", odd)
    scored = steer_predictor("score", saved, "--user", "u01", odd)
    assert scored.returncode == 0, scored.stderr
    assert scored.stdout.splitlines()[1].startswith(f"{tmp_path}/caf\\xe9.png,")


def test_one_table_and_a_folder_of_images_become_a_dataset(steer_predictor: Steer, rated: Path, tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("user_id,image,rating\n" + "".join(f"ann,{n:03d},{1 + n % 7}\n" for n in range(9)))
    arguments = ("--kind", "table", "--ratings", "r.csv", "--images", rated, "--out", "new")
    made = steer_predictor("import", *arguments, "--scale", "1,7")
    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith("9 of 9 ratings kept (train ")
    refused = steer_predictor("import", *arguments)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "--kind table takes --ratings FILE, --images FOLDER and --scale LOW,HIGH, and no source" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("simulate nowhere", "nowhere: the table 'images' is missing"),
        ("train nowhere --out new", "nowhere: not a dataset folder, dataset.yaml is missing"),
        ("train {rated} --out {saved}", "--out {saved}: is not empty; name a new folder"),
        ("train {rated} --out new --recipe huge", "unknown recipe 'huge'; known are paper, small"),
        ("train {rated} --out new --encoder clip", "unknown encoder 'clip'; known are efficientnet-lite0"),
        ("train {rated} --out new --without age", "--without 'age': known are text, demographics, metadata, user"),
        ("score {saved} --user u99 x.png", "unknown user 'u99'; the checkpoint knows u01, u02"),
        ("score {saved} --user u01 nowhere.png", "nowhere.png: not an image that can be read"),
        ("score {saved} --user u01 {rated}/images.csv", "images.csv: not an image that can be read"),
        ("score {saved} --user u01 {bomb}", "bomb.png: not an image that can be read"),
        ("score {rated} --user u01 x.png", "{rated}: not a whole checkpoint, config.json, model.safetensors"),
        ("enroll {saved} --user x --ratings x.csv --out {rated}", "--out {rated}: is not empty; name a new folder"),
        ("enroll {saved} --user x --ratings x.csv --out new", "x.csv: no such file"),
        (
            "enroll {saved} --user x --out new",
            "--user x: nothing to learn them by; give --ratings, --choices or --likes",
        ),
        ("enroll {saved} --user x --choices {rated}/images.csv --out new", "no column shown, chosen; the file has"),
        ("enroll {saved} --user x --likes {rated}/images.csv --out new", "no column image, liked; the file has"),
        ("enroll {saved} --user u01 --ratings {rated} --update --out new", "--user u01: is of the training ratings"),
        ("forget {saved} --user u01 --out new", "--user u01: is of the training ratings, which also shaped the model"),
        ("score {saved} --user u01 --interval 100 x.png", "--interval must be between 0 and 100 percent, got 100"),
        (
            "enroll {saved} --user x --ratings x.csv --out new --scale 5",
            "--scale must be two numbers, LOW,HIGH, got '5'",
        ),
        (
            "enroll {saved} --user x --ratings x.csv --out new --scale 1,inf",
            "--scale must be two finite numbers, LOW,HIGH, got '1,inf'",
        ),
        (
            "enroll {saved} --user x --ratings x.csv --out new --demographic age",
            "--demographic must be NAME=VALUE, got 'age'",
        ),
        ("evaluate {saved} {rated} --split best", "unknown split 'best'; the splits are train, val_seen"),
        ("evaluate {saved} {rated} --split test_unseen", "simulated-6-raters: no rating of split 'test_unseen'; there"),
        ("evaluate {saved} {rated} --strangers twin", "unknown rule for strangers 'twin'; known are default, paper"),
        ("evaluate {saved} {rated} --json {rated}", "--json {rated}: is a folder; name a file in it"),
        (
            "evaluate {saved} {rated} --json {rated}/users.csv/x.json",
            "--json {rated}/users.csv/x.json: cannot be written: File exists; name another place",
        ),
        ("train {rated} --out {rated}/users.csv/x", "users.csv/x: cannot be written to: Not a directory; name another"),
        ("ablate {rated} --out new", "simulated-6-raters: no rating of split 'test_unseen', which an ablation is"),
        ("info nowhere", "nowhere: no such checkpoint folder; make one by `steer-predictor train`"),
    ],
)
def test_what_cannot_be_done_is_one_line_on_stderr_and_exit_status_2(
    steer_predictor: Steer, rated: Path, saved: Path, tmp_path: Path, arguments: str, message: str
) -> None:
    names = {"rated": rated, "saved": saved, "bomb": tmp_path / "bomb.png"}
    if "{bomb}" in arguments:
        Image.new("1", (20000, 10000)).save(names["bomb"])
    refused = steer_predictor(*arguments.format(**names).split())
    assert refused.returncode == 2, refused
    assert message.format(**names) in refused.stderr
    assert refused.stderr.startswith("steer-predictor: ")
    assert refused.stderr.count("\n") == 1, refused.stderr
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("name", "message"), [("users.parquet", "cannot be read: .*; train it again"), ("README.md", "is no UTF-8 text: ")]
)
def test_a_checkpoint_that_cannot_be_shown_is_one_line(
    steer_predictor: Steer, checkpoint: Path, name: str, message: str
) -> None:
    (checkpoint / name).write_bytes(b"\xff")
    for command in (("info", checkpoint), ("score", checkpoint, "--user", "u01", "x.png")):
        refused = steer_predictor(*command)
        assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (2, "", 1), refused.stderr
    assert re.search(f"{checkpoint / name}: {message}", steer_predictor("info", checkpoint).stderr)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk that is too small for a checkpoint."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", folder], check=False).returncode:
        pytest.skip("needs the right to mount a small disk")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_one_line_and_leaves_no_half_checkpoint(
    steer_predictor: Steer, rated: Path, saved: Path, disk: Path
) -> None:
    file = disk.parent / "ada.csv"
    file.write_text(f"image,rating\n{rated / '000.png'},3\n{rated / '001.png'},4\n", "utf-8")
    for command in (
        ("train", rated, "--out", disk / "new"),
        ("enroll", saved, "--user", "ada", "--ratings", file, "--scale", "1,7", "--out", disk / "new"),
    ):
        refused = steer_predictor(*command)
        assert refused.returncode == 2, refused.stderr
        said = refused.stderr.splitlines()[-1]
        assert ".safetensors" in said and "No space left on device" in said
        assert said.endswith("; mend that, and try again")
        assert not (disk / "new" / "config.json").exists()


@pytest.mark.parametrize("content", [b"\x00\xff", b"a: [1\n"], ids=["binary", "text"])
@pytest.mark.parametrize("break_it", ["dataset.yaml", "ratings.csv", "users.csv"])
def test_a_broken_dataset_is_one_line_too(steer_predictor: Steer, dataset: Path, break_it: str, content: bytes) -> None:
    (dataset / break_it).write_bytes(content)
    refused = steer_predictor("train", dataset, "--out", "new")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr


@pytest.mark.parametrize("arguments", ["--nonsense", "unknown", "simulate", "score x y", "simulate x --raters 0"])
def test_wrong_usage_is_exit_status_2_and_no_traceback(steer_predictor: Steer, arguments: str) -> None:
    refused = steer_predictor(*arguments.split())
    assert refused.returncode == 2
    assert "Usage:" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_the_installed_script_scores_as_the_function_does(steer_predictor: Steer, saved: Path, rated: Path) -> None:
    arguments = ("score", saved, "--user", "u03", rated / "000.png", rated / "001.png")
    alone = in_its_own_process(*arguments)
    assert (alone.returncode, alone.stdout) == (0, steer_predictor(*arguments).stdout)


def test_the_installed_script_refuses_in_one_line() -> None:
    refused = in_its_own_process("info", "nowhere")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == (
        "steer-predictor: nowhere: no such checkpoint folder; make one by `steer-predictor train`\n"
    )


def test_help_comes_at_once() -> None:
    script = Path(sys.executable).parent / "steer-predictor"
    assert core_seconds(script, "train", "--help") < 3  # 0.3 on a quiet machine


def test_nothing_heavy_is_imported_before_the_work_begins() -> None:
    heavy = ("torch", "transformers", "pyarrow", "duckdb", "numpy", "PIL", "rich.progress")
    listing = f"import sys, predictor.cli; print([name for name in {heavy} if name in sys.modules])"
    listed = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True)
    assert listed.stdout == "[]\n"
