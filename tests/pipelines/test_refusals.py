"""Bad input: one clear line on standard error, exit status 2, and nothing written."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipelines.conftest import Steer
from tests.pipelines.console import small

Arguments = list[object]


def refused(done: subprocess.CompletedProcess[str], *said: str) -> None:
    """Exit status 2 and one line that holds all of `said`."""
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("steer-batch: ")
    for part in said:
        assert part in lines[0], lines[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--users", "u99"], ["unknown user 'u99'", "u01"]),
        (["--users", "u01,u01"], ["named twice"]),
        (["--users", "group:age > 900"], ["nobody", "age > 900"]),
        (["--users", "group:shoe_size > 40"], ["no predicate", "age"]),
        (["--users", "@nobody.txt"], ["nobody.txt", "no such file"]),
        (["--preset", "embeded"], ["unknown preset 'embeded'", "embedded"]),
        (["--scorer", "hpsv9"], ["unknown scorer 'hpsv9'", "pamela"]),
        (["--scorer", "a:b:c"], ["scorer a:b:c: cannot be imported"]),  # :b: is no picture of a letter
        (["--users", f"@{'y' * 300}"], ["File name too long; mend that"]),
        (["--set", "renderer.sise=64"], ["unknown setting 'renderer.sise'", "size"]),
        (["--set", "renderer.size=huge"], ["renderer.size", "'huge'"]),
        (["--set", "renderer"], ["KEY=VALUE"]),
        (["--set", "renderer.photos=/nowhere"], ["/nowhere"]),
        (["--prompts", "nowhere.txt"], ["nowhere.txt", "no such"]),
        (["--predictor", "/nowhere"], ["/nowhere", "no such checkpoint"]),
        (["--set", "protocol.guards.image=reject"], ["guards.image=reject", "efficientnet-lite0 has no text half"]),
        (
            ["--scorer", "pamela", "--scorer", "population", "--set", "protocol.guards.held_out=reject"],
            ["guards.held_out=reject", "population steers"],
        ),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    arguments: Arguments, said: list[str], steer: Steer, checkpoint: Path, prompts: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    done = steer(*small(checkpoint, prompts, out), *arguments)
    refused(done, *said)
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--users", "u99"], ["unknown user 'u99'", "u01"]),
        (["--set", "renderer.num_gpus=2", "--set", "renderer.actors=2"], ["4 GPU wanted, 0 there"]),
        (["--address", "127.0.0.1:1"], ["no Ray cluster at '127.0.0.1:1'"]),
    ],
)
def test_the_installed_command_refuses_what_cannot_be_done(
    arguments: Arguments, said: list[str], steer_command: Steer, checkpoint: Path, prompts: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    refused(steer_command(*small(checkpoint, prompts, out), *arguments), *said)
    assert not out.exists()


@pytest.mark.parametrize(
    ("guard", "said"),
    [
        ("image", ["guards.image=reject", "name one on SigLIP by --predictor"]),
        ("held_out", ["guards.held_out=reject", "name one by --predictor, or another protocol.guards.held_out_scorer"]),
    ],
)
def test_a_guard_that_rejects_by_a_predictor_says_how_to_name_one(
    guard: str, said: list[str], steer: Steer, prompts: Path, tmp_path: Path
) -> None:
    level = ("--set", f"protocol.guards.{guard}=reject")
    refused(steer("--prompts", prompts, "--scorer", "pickscore", "--out", tmp_path / "run", *level), *said)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no prompt"),
        (b"# only a comment\n\n", "holds no prompt"),
        (b"caf\xe9\n", "not UTF-8"),
    ],
)
def test_a_prompts_file_without_prompts_is_refused(
    content: bytes, said: str, steer: Steer, checkpoint: Path, tmp_path: Path
) -> None:
    prompts = tmp_path / "bad.txt"
    prompts.write_bytes(content)
    refused(steer(*small(checkpoint, prompts, tmp_path / "run")), "bad.txt", said)
    assert not (tmp_path / "run").exists()


def test_duplicate_prompt_ids_are_refused(steer: Steer, checkpoint: Path, tmp_path: Path) -> None:
    prompts = tmp_path / "twice.csv"
    prompts.write_text("prompt_id,prompt\na,a cat\na,a dog\n", "utf-8")
    refused(steer(*small(checkpoint, prompts, tmp_path / "run")), "'a' is there twice")


def test_users_and_prompts_are_asked_for(steer: Steer) -> None:
    refused(steer(), "--users and --prompts is missing")


def test_a_folder_that_holds_something_else_is_left_alone(
    steer: Steer, checkpoint: Path, prompts: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    refused(steer(*small(checkpoint, prompts, out)), "not empty")
    assert [path.name for path in out.iterdir()] == ["thesis.tex"]


def test_a_folder_that_holds_another_run_is_refused_with_the_way_to_continue_it(
    steer: Steer, finished: Path, checkpoint: Path, prompts: Path
) -> None:
    refused(steer(*small(checkpoint, prompts, finished)), "holds another run", "--resume")


def test_resuming_with_other_settings_says_which_differ(
    steer: Steer, finished: Path, prompts: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(finished, tmp_path / "run"))
    other = steer("--resume", "--out", out, "--candidates", 7, "--seed", 3)
    refused(other, "settings.protocol.candidates was 4, is 7", "settings.seed was 0, is 3")
    prompts.write_text("a cup of tea\n", "utf-8")
    refused(steer("--resume", "--out", out, "--prompts", prompts), 'prompts.p01 was "a cup of coffee"')
    assert steer("--resume", "--out", out, "--set", "renderer.actors=1").returncode == 0


def test_resuming_where_no_run_is_is_refused(steer: Steer, tmp_path: Path) -> None:
    refused(steer("--resume", "--out", tmp_path), "holds no run")
    refused(steer("--resume"), "--resume needs --out")


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A real disk of the size that the test asks for."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={request.param}", "tmpfs", folder], check=False).returncode:
        pytest.skip("needs the right to mount a small disk")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("disk", ["64k"], indirect=True)
def test_a_disk_that_is_too_small_is_refused_before_anything_is_written(
    steer: Steer, checkpoint: Path, prompts: Path, disk: Path
) -> None:
    refused(steer(*small(checkpoint, prompts, disk / "run")), "no disk space", "MB wanted", "MB free")
    assert not (disk / "run").exists()


@pytest.mark.parametrize("disk", ["1m"], indirect=True)
def test_a_disk_that_fills_up_ends_the_run_in_one_line_and_resume_goes_on(
    steer: Steer, checkpoint: Path, prompts: Path, disk: Path
) -> None:
    run = small(checkpoint, prompts, disk / "run")
    ballast = disk / "ballast"
    ballast.write_bytes(b"0" * 310_000)  # leaves what the plan of 66 images wants, but not the tables and the page
    done = steer(*run)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "No space left on device" in done.stderr.strip().splitlines()[-1]
    ballast.unlink()
    subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
    assert steer("--resume", "--out", disk / "run").returncode == 0


@pytest.mark.parametrize("there", [False, True], ids=["new folder", "empty folder"])
def test_a_run_whose_scorer_never_comes_up_leaves_nothing_behind(
    there: bool, steer: Steer, checkpoint: Path, prompts: Path, tmp_path: Path
) -> None:
    broken, run = tmp_path / "broken", tmp_path / "run"
    shutil.copytree(checkpoint, broken)
    (broken / "model.safetensors").write_bytes(b"half a file")
    if there:
        run.mkdir()
    refused = steer(*small(broken, prompts, run))
    assert refused.returncode == 2
    assert "scorer: no actor comes up" in refused.stderr.splitlines()[-1]
    assert "Traceback" not in refused.stderr
    assert run.exists() == there and not any(run.glob("*"))


def test_an_instruction_that_is_missing_is_refused_before_anything_is_started(
    steer: Steer, checkpoint: Path, prompts: Path, tmp_path: Path
) -> None:
    proposer = ("kind=openai", "model=m", "base_url=http://127.0.0.1:9/v1", "instruction=/nowhere.txt")
    settings = [word for setting in proposer for word in ("--set", f"proposer.{setting}")]
    refused(steer(*small(checkpoint, prompts, tmp_path / "run"), *settings), "/nowhere.txt")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("lacking", ["settings", "prompts", "users"])
def test_a_description_of_a_run_that_lacks_something_is_told_by_its_file(
    steer: Steer, finished: Path, tmp_path: Path, lacking: str
) -> None:
    run = tmp_path / "copied"
    shutil.copytree(finished, run)
    about = json.loads((run / "run.json").read_text("utf-8"))
    about[lacking] = {} if lacking == "settings" else [{}]
    (run / "run.json").write_text(json.dumps(about), "utf-8")

    refused(steer("--resume", "--out", run), f"{run / 'run.json'}: does not read as a run's description: KeyError")
