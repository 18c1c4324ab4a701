"""An adaptive rating study: what each participant is asked follows from what they answered, and they cannot tell."""

import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import httpx2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from predictor.encoders.encoding import EncoderNames
from predictor.people.catalogue import Catalogue
from predictor.people.interview import Interview
from predictor.taste.hierarchical import ImageFeatures, Taste, TasteConfig
from studies.adaptive import FILE, next_in_block, outline_block
from studies.design.making import make_rating
from studies.design.rating import read_images
from studies.sequence import AssignedTrial, order_block
from studies.session import Question, StudySession
from studies.simulation.participants import Page
from studies.store.store import Store
from studies.study import Study, Trial, read_study
from studies.web.app import create_app
from studies.web.serving import serving
from tests.pipelines.predictors import train
from tests.studies.conftest import picture
from tests.studies.test_commands import steer_study
from tests.studies.test_session import session_of, somebody, take, who

IMAGES, EACH, BLOCK = 60, 24, 12


@pytest.fixture
def adaptive_study(tmp_path: Path) -> Study:
    """Sixty images less three for practice, of which each participant rates 24 in two blocks."""
    folder = tmp_path / "greys"
    for number in range(IMAGES):
        picture(10 + 4 * number, folder / f"{number:02d}.png")
    choices = {
        **{"block": BLOCK, "practice": 2, "attention": 1, "repeats": 0.25, "seed": 5},
        **{"ratings_per_image": 3, "images_each": EACH, "adaptive": True},
    }
    study = make_rating(read_images(folder), folder, tmp_path / "study", choices=choices)
    interview_of(study).save(study.folder / FILE)
    return study


def interview_of(study: Study, rank: int = 4) -> Interview:
    rng = np.random.default_rng(0)
    ids = [str(trial.image) for trial in study.of_kind("trial")]
    values = torch.from_numpy(rng.normal(size=(len(ids), rank)))
    taste = Taste(TasteConfig(dimensions=0, landmarks=0, rank=rank, noise=0.01, generic_error=0.002))
    taste.covariance.copy_(0.01 * torch.eye(rank))
    generic = torch.from_numpy(rng.normal(0, 0.05, len(ids)))
    return Interview(taste, Catalogue(ids=tuple(ids), features=ImageFeatures(generic=generic, values=values)))


def trials(met: list[Question]) -> list[str]:
    return [question.trial.trial_id for question in met if question.trial.kind == "trial"]


@given(size=st.integers(1, 60), checks=st.integers(0, 3), repeats=st.floats(0, 0.33), seed=st.text(max_size=5))
def test_repeats_and_checks_stand_where_they_stand_in_any_other_block(
    size: int, checks: int, repeats: float, seed: str
) -> None:
    asked = [Trial(trial_id=f"c{n}", block=0, prompt_id="", prompt="", kind="attention") for n in range(checks)]
    usual = [Trial(trial_id=f"t{n}", block=1, prompt_id="", prompt="") for n in range(size)]
    outline = outline_block(size, asked, block=1, repeats=repeats, seed=seed)
    left, assigned = iter(range(size)), list[AssignedTrial]()
    while (following := next_in_block(outline, assigned, lambda: f"t{next(left)}")) is not None:
        assigned.append(following)

    plain = order_block(usual, asked, block=1, repeats=repeats, swapped=False, seed=seed)
    names, chosen = (dict.fromkeys(a.trial_id for a in order) for order in (plain, assigned))
    renamed = dict(zip(names, chosen, strict=True))
    assert [renamed[a.trial_id] for a in plain] == [a.trial_id for a in assigned]
    assert [(a.block, a.repeat) for a in plain] == [(a.block, a.repeat) for a in assigned]


def test_a_participant_meets_as_many_images_repeats_and_checks_as_in_any_study(adaptive_study: Study) -> None:
    study_session = session_of(adaptive_study)
    session = somebody(study_session)
    met = take(study_session, session)

    assert Counter(question.trial.kind for question in met) == {"practice": 2, "attention": 2, "trial": 30}
    assert sorted(Counter(trials(met)).values()) == [1] * 18 + [2] * 6
    assert {question.total for question in met} == {34}
    assert study_session.state(who(study_session, session)).stage == "done"


def test_what_is_asked_depends_on_what_was_answered(adaptive_study: Study) -> None:
    study_session = session_of(adaptive_study)
    name = who(study_session, somebody(study_session)).participant
    ids = list(interview_of(adaptive_study).catalogue.ids)
    interview = Interview.load(adaptive_study.folder / FILE)
    one, other = (
        [interview.next([(ids[0], low), (ids[1], 1 - low)], askable=ids[2:], seed=(seed,)) for seed in range(12)]
        for low in (0.0, 1.0)
    )

    assert one != other
    assert study_session.store.ratings_by(name) == []


def test_the_image_that_comes_next_is_known_one_ahead_and_stays_after_a_restart(adaptive_study: Study) -> None:
    study_session = session_of(adaptive_study)
    session = somebody(study_session)
    met = take(study_session, session, most=9)
    before = study_session.state(who(study_session, session)).question

    again = session_of(adaptive_study).state(who(study_session, session)).question

    assert before is not None
    assert again == before
    assert all(question.ahead[:1] == (following.image,) for question, following in pairwise(met))


def test_an_image_that_is_rejected_meanwhile_is_not_asked_about_again(adaptive_study: Study) -> None:
    study_session = session_of(adaptive_study)
    session = somebody(study_session)
    first = next(q for q in take(study_session, session, most=4) if q.trial.kind == "trial")
    assert first.image is not None
    study_session.review([first.image], approved=False)

    assert first.image not in [question.image for question in take(study_session, session)]


def test_images_that_everybody_has_rated_enough_are_left_to_others_first(adaptive_study: Study) -> None:
    study_session = session_of(adaptive_study)
    for _ in range(5):
        take(study_session, somebody(study_session))

    counts = study_session.store.rating_counts()
    assert max(counts.get(trial.trial_id, 0) for trial in adaptive_study.of_kind("trial")) == 3


def test_an_adaptive_study_without_what_it_chooses_by_is_not_served(adaptive_study: Study) -> None:
    (adaptive_study.folder / FILE).unlink()

    with pytest.raises(ValueError, match="no interview that can be read"):
        session_of(adaptive_study)


def test_over_http_no_page_tells_that_it_was_chosen_and_the_next_one_comes_in_time(adaptive_study: Study) -> None:
    store = Store(adaptive_study.database)
    app = create_app(StudySession(adaptive_study, store, approve_all=True), researcher_token="a-token-of-somebody")
    ((_, token),) = store.invite([None])
    shown, seconds = [], []
    with serving(app) as address, httpx2.Client(base_url=address, follow_redirects=True) as client:
        client.get(f"/join/{token}")
        client.post("/consent", data={"agreed": "yes"})
        html = client.post("/about", data={}).text
        while (page := Page(html)).action is not None:
            if page.action == "/continue":
                html = client.post("/continue").text
                continue
            shown.append(html)
            began = time.monotonic()
            html = client.post("/answer", data={**page.fields, "rating": "50"}).text
            seconds.append(time.monotonic() - began)
    assert len(shown) == 34
    assert not any("adaptive" in text for text in shown)
    assert float(np.median(seconds)) < 0.5  # 20 to 30 ms on a quiet machine


def test_the_command_makes_one_from_a_checkpoint_and_asks_half_as_much(images: Path, tmp_path: Path) -> None:
    checkpoint = train(tmp_path / "predictor", EncoderNames())
    options = ("--images", images, "--adaptive", "--predictor", checkpoint)

    planned = steer_study("rating", *options, "--plan", "--practice", 0, "--attention", 0, "--block", 5)
    made = steer_study("rating", *options, "--out", tmp_path / "made")
    alone = steer_study("rating", "--images", images, "--adaptive", "--out", tmp_path / "alone")

    assert planned.returncode == 0, planned.stderr
    assert made.returncode == 0, made.stderr
    study = read_study(tmp_path / "made")
    assert study.settings.images_each == 40
    assert set(Interview.load(study.folder / FILE).catalogue.ids) == {str(t.image) for t in study.of_kind("trial")}
    assert (alone.returncode, "--predictor CHECKPOINT belong together" in alone.stderr) == (2, True)
