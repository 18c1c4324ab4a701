"""steer-study as it is typed: what it makes, and what it refuses in one line."""

import subprocess
import sys
from pathlib import Path

import pytest

from predictor.data.dataset import read_dataset
from studies.cli.main import main
from studies.study import Study, read_study
from tests.in_this_process import call
from tests.studies.conftest import Build
from tests.studies.test_session import session_of, take, who


def steer_study(*arguments: object) -> subprocess.CompletedProcess[str]:
    return call(main, "steer-study", *arguments)


def test_the_installed_script_makes_a_study_and_refuses_in_one_line(run_folder: Build, tmp_path: Path) -> None:
    script = str(Path(sys.executable).parent / "steer-study")
    command = [script, "pairs", str(run_folder()), "--out", str(tmp_path / "s"), "--others", "2"]
    made, again = (subprocess.run(command, check=False, capture_output=True, text=True) for _ in range(2))
    assert made.returncode == 0, made.stderr
    assert "over initial, own, other" in made.stdout
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    assert again.stderr.startswith("steer-study: ")


def refused(*arguments: object) -> str:
    """The one line by which a command refuses."""
    done = steer_study(*arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("steer-study: ")
    return line


def test_a_run_becomes_a_study_and_invitations_are_printed_once(run_folder: Build, tmp_path: Path) -> None:
    run, out = run_folder(), tmp_path / "s"
    made = steer_study("pairs", run, "--out", out, "--others", 2, "--title", "Walls", "--completion-code", "DONE")
    assert made.returncode == 0, made.stderr
    assert "over initial, own, other" in made.stdout
    study = read_study(out)
    assert study.settings.title == "Walls"
    assert study.settings.sources == (str(run.resolve()),)
    invited = steer_study("invite", out, "--users", "u1,u3", "--count", 2, "--url", "https://study.example.org/")
    lines = invited.stdout.splitlines()
    assert lines[0] == "participant,user,link"
    assert [line.split(",")[1] for line in lines[1:]] == ["u1", "u3", "", ""]
    assert all(",https://study.example.org/join/" in line for line in lines[1:])


def test_the_consent_page_says_where_the_images_come_from(run_folder: Build, tmp_path: Path) -> None:
    developed, generated = run_folder("developed"), run_folder("generated")
    (developed / "run.json").write_text('{"settings": {"renderer": {"kind": "darkroom"}}}')
    notices = []
    for number, arguments in enumerate(([developed], [developed, generated], [developed, "--notice", "Paintings."])):
        assert steer_study("pairs", *arguments, "--out", tmp_path / f"s{number}").returncode == 0
        notices.append(read_study(tmp_path / f"s{number}").settings.notice)
    assert "photographs that a computer program has changed" in notices[0]
    assert "artificial intelligence" in notices[1]
    assert notices[2] == "Paintings."


def test_a_plan_says_what_a_study_asks_of_people_and_writes_nothing(
    run_folder: Build, images: Path, tmp_path: Path
) -> None:
    pairs = steer_study("pairs", run_folder(), "--plan", "--difference", 40).stdout
    assert "3 conditions (initial, own, other)" in pairs
    assert "minutes" in pairs
    assert "To tell 40 Elo between two of 3 conditions at 80% power" in pairs
    rating = steer_study("rating", "--images", images, "--plan", "--per-image", 4).stdout
    assert "9 images, 4 ratings each: 36 ratings" in rating
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"run", "images"}


@pytest.mark.parametrize("command", [["--help"], ["pairs", "--help"], ["serve", "--help"], ["elo", "--help"]])
def test_help_comes_without_loading_a_model_or_a_server(command: list[str]) -> None:
    heavy = {"torch", "transformers", "starlette", "uvicorn", "matplotlib", "scipy", "duckdb"}
    code = (
        "import sys; sys.argv = ['steer-study', *sys.argv[1:]]\n"
        "from studies.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"assert not {heavy} & set(sys.modules), {heavy} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, *command], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


def test_what_is_no_run_study_or_image_folder_is_refused(tmp_path: Path, images: Path) -> None:
    assert "not a run folder" in refused("pairs", tmp_path, "--out", tmp_path / "s")
    for command in (["serve"], ["invite", "--count", 1], ["export", "--answers", "x.csv"], ["simulate"], ["elo"]):
        assert "not a study folder" in refused(command[0], tmp_path, *command[1:])
    assert "no such folder" in refused("rating", "--images", tmp_path / "none", "--out", tmp_path / "s")
    assert "lower --practice" in refused("rating", "--images", images, "--out", tmp_path / "s", "--practice", 50)
    assert not (tmp_path / "s").exists()


def test_a_folder_that_is_taken_is_never_written_to(run_folder: Build, pair_study: Study) -> None:
    before = sorted(pair_study.folder.rglob("*"))
    assert "is there already, and may hold people's answers" in refused(
        "pairs", run_folder("r2"), "--out", pair_study.folder
    )
    assert sorted(pair_study.folder.rglob("*")) == before
    assert "--out is missing" in refused("pairs", run_folder("r3"))


def test_commands_of_one_kind_refuse_studies_of_the_other(
    pair_study: Study, rating_study: Study, tmp_path: Path
) -> None:
    for study in (pair_study, rating_study):
        assert steer_study("invite", study.folder, "--count", 1).returncode == 0
    assert "holds no choice yet" in refused("export", pair_study.folder, "--dataset", tmp_path / "d")
    assert "kind 'rating'" in refused("elo", rating_study.folder)
    assert "holds no rating yet" in refused("export", rating_study.folder, "--dataset", tmp_path / "d")
    assert "no votes yet" in refused("elo", pair_study.folder)
    assert not (tmp_path / "d").exists()


def test_wrong_values_are_named_with_what_would_do(run_folder: Build, pair_study: Study, tmp_path: Path) -> None:
    assert "unknown user 'u9'" in refused("invite", pair_study.folder, "--users", "u1,u9")
    assert "nobody to invite" in refused("invite", pair_study.folder)
    assert "at least 16 characters, got 5" in refused("serve", pair_study.folder, "--token", "short")
    assert "nothing to export" in refused("export", pair_study.folder)
    assert "no votes yet" in refused("export", pair_study.folder, "--answers", tmp_path / "x.csv")
    steer_study("invite", pair_study.folder, "--count", 1)
    assert "use one of .csv, .parquet, .jsonl" in refused("export", pair_study.folder, "--answers", tmp_path / "x.xlsx")
    assert "cannot be read as text" in refused("pairs", run_folder("r"), "--out", tmp_path / "s", "--consent", tmp_path)


def test_a_refusal_leaves_nothing_behind_so_that_the_next_try_works(images: Path, tmp_path: Path) -> None:
    (images / "7.png").write_bytes((images / "7.png").read_bytes()[:60])
    assert "7.png: not an image that can be read" in refused("rating", "--images", images, "--out", tmp_path / "s")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images"]
    assert "practice trials leave none" in refused("rating", "--images", images, "--plan", "--practice", 20)
    assert "completion_url" in refused(
        "rating", "--images", images, "--out", tmp_path / "s", "--completion-url", "javascript:1"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images"]


def test_nobody_is_rehearsed_among_people_or_invited_twice(pair_study: Study) -> None:
    assert "names somebody twice" in refused("invite", pair_study.folder, "--users", "u1,u1")
    assert "must begin with https://" in refused("invite", pair_study.folder, "--count", 1, "--url", "javascript:x")
    assert "--name u1: is invited already" in refused("invite", pair_study.folder, "--users", "u1", "--name", "u1")
    assert steer_study("invite", pair_study.folder, "--users", "u1").returncode == 0
    assert "--users u1: is invited already" in refused("invite", pair_study.folder, "--users", "all")
    assert "1 people are invited to it; rehearse on a copy" in refused("simulate", pair_study.folder)
    assert "no such file" in refused("simulate", pair_study.folder, "--truth", "/nonexistent")


def test_raters_are_not_more_than_there_are_and_their_file_is_one_of_theirs(pair_study: Study) -> None:
    assert "--participants 9: there are 4 raters" in refused("simulate", pair_study.folder, "--participants", 9)
    items = pair_study.folder / "items.parquet"
    line = f"{items}: does not hold the taste of simulated raters"
    assert line in refused("simulate", pair_study.folder, "--truth", items)
    assert line in refused("truth", *pair_study.settings.sources, "--truth", items)


def test_a_copy_of_a_study_is_not_made_inside_it(pair_study: Study) -> None:
    steer_study("invite", pair_study.folder, "--count", 1)
    before = sorted(pair_study.folder.rglob("*"))
    assert "lies in the study itself" in refused("backup", pair_study.folder, pair_study.folder / "copies" / "first")
    assert sorted(pair_study.folder.rglob("*")) == before


def test_a_run_that_is_cut_is_told_by_its_file(run_folder: Build, tmp_path: Path) -> None:
    run = run_folder()
    for content in ('{"settings": ', "[]"):
        (run / "run.json").write_text(content)
        assert f"{run / 'run.json'}: does not read as a run's description" in refused(
            "pairs", run, "--out", tmp_path / "s"
        )
    for image in (run / "images").rglob("*.png"):
        image.unlink()
    for command in (("pairs", run, "--out", tmp_path / "s"), ("truth", run)):
        assert "the run's records name this image, but it is not there" in refused(*command)
    assert not (tmp_path / "s").exists()


def test_a_study_that_lost_its_images_or_key_is_not_served(pair_study: Study) -> None:
    name = next(iter(pair_study.items))
    pair_study.asset(name).unlink()
    assert "is missing; copy the study folder whole" in refused("serve", pair_study.folder)
    import pyarrow.parquet as pq

    items = pq.read_table(pair_study.folder / "items.parquet")
    pq.write_table(items.slice(1), pair_study.folder / "items.parquet")
    assert "is not in items.parquet" in refused("serve", pair_study.folder)


def test_a_plan_without_others_has_no_condition_of_that_name(run_folder: Build) -> None:
    done = steer_study("pairs", run_folder(), "--plan", "--others", 0)
    assert done.stdout.startswith("2 conditions (initial, own), 2 prompts and passes\n")


def test_a_damaged_study_is_told_by_its_file(pair_study: Study) -> None:
    described = pair_study.folder / "study.json"
    text = described.read_text()
    described.write_text(text.replace('"block": 12', '"block": 0'))
    assert "study.json: block: input should be greater than or equal to 1, got 0" in refused("serve", pair_study.folder)
    described.write_text(text[:40])
    assert "study.json" in refused("serve", pair_study.folder)
    described.write_text(text.replace('"seed"', '"sede"'))
    assert refused("serve", pair_study.folder).endswith("study.json: seed: field required")
    described.write_text(text.replace('"repeats"', '"repaets"'))
    assert "repaets: extra inputs are not permitted" in refused("serve", pair_study.folder)


def test_simulation_needs_raters_with_a_known_taste(rating_study: Study) -> None:
    assert "name their truth.parquet by --truth" in refused("simulate", rating_study.folder)


def test_a_seed_is_secret_unless_it_is_given_and_then_the_command_says_what_that_means(
    run_folder: Build, images: Path, tmp_path: Path
) -> None:
    run = run_folder()
    for name, command in (("pairs", ["pairs", run]), ("rating", ["rating", "--images", images])):
        secret = steer_study(*command, "--out", tmp_path / f"{name}1")
        given = steer_study(*command, "--out", tmp_path / f"{name}2", "--seed", 5)
        assert "--seed" not in secret.stdout
        assert "blind only to people who do not know --seed 5" in given.stdout
        assert read_study(tmp_path / f"{name}1").settings.seed > 2**40
        assert read_study(tmp_path / f"{name}2").settings.seed == 5


def test_somebody_is_invited_by_name_and_known_by_it_in_the_dataset(rating_study: Study, tmp_path: Path) -> None:
    invited = steer_study("invite", rating_study.folder, "--name", "ada", "--name", "ben")
    assert [line.split(",")[1] for line in invited.stdout.splitlines()[1:]] == ["ada", "ben"]
    assert "ada: is invited already" in refused("invite", rating_study.folder, "--name", "ada")
    assert "must be 1 to 64 letters" in refused("invite", rating_study.folder, "--name", "a,b")
    study_session = session_of(rating_study)
    session = study_session.join(invited.stdout.splitlines()[1].rsplit("/", 1)[1]) or ""
    name = who(study_session, session).participant
    study_session.store.consent(name)
    study_session.store.record_demographics(name, {})
    take(study_session, session)
    study_session.store.close()
    assert "1 users" in steer_study("export", rating_study.folder, "--dataset", tmp_path / "d").stdout
    assert read_dataset(tmp_path / "d").user_ids == ["ada"]


def test_a_sample_of_a_folder_ones_own_anchors_and_what_is_not_told_are_said(images: Path, tmp_path: Path) -> None:
    (images / "images.csv").unlink()
    command = ["rating", "--images", images, "--sample", 6, "--practice", 1, "--anchors", "ugly,plain,fine,nice,superb"]
    made = steer_study(*command, "--out", tmp_path / "s")
    study = read_study(tmp_path / "s")
    assert len(study.of_kind("trial")) == 5
    assert study.settings.anchors == ("ugly", "plain", "fine", "nice", "superb")
    assert "artificial intelligence" not in study.settings.notice
    assert "not told where the images come from: say so by --notice" in made.stdout
    assert "see no contact: name one by --contact" in made.stdout
    told = steer_study(*command, "--out", tmp_path / "t", "--notice", "Mine.", "--contact", "ada@example.org")
    assert "told" not in told.stdout
    assert "there are 12 images" in refused("rating", "--images", images, "--sample", 13, "--out", tmp_path / "u")
    assert "must be five words" in refused("rating", "--images", images, "--anchors", "a,b", "--out", tmp_path / "u")


def test_a_language_that_is_not_there_is_refused_before_anything_is_served(pair_study: Study, tmp_path: Path) -> None:
    assert "is not among en, ar, de" in refused("serve", pair_study.folder, "--language", "tlh")
    assert "cannot be read" in refused("serve", pair_study.folder, "--language", tmp_path / "none.po")
