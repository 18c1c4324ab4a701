"""How a study goes, as a reader that is kept sees it and as one that begins anew."""

from random import Random

from studies.results.progress import ProgressReader, progress
from studies.session import StudySession
from studies.study import Study
from tests.studies.test_session import session_of, somebody, take, who


def something_happens(study_session: StudySession, people: list[str], rng: Random) -> None:
    """Somebody comes, answers, undoes, withdraws, or an image is rejected or approved after all."""
    store, what = study_session.store, rng.choice(("come", "answer", "answer", "undo", "withdraw", "reject", "approve"))
    present = [session for session in people if store.participant(session) is not None]
    if what == "come" or not present:
        people.append(somebody(study_session, rng.choice(("u1", "u2", None))))
        return
    session = rng.choice(present)
    name = who(study_session, session).participant
    if what == "answer":
        take(study_session, session, most=rng.randint(1, 14))
    elif what == "undo":
        last = store.last_answer(name, since="")
        assert last is None or study_session.undo(name, last)
    elif what == "withdraw" and rng.random() < 0.3:
        store.withdraw(name)
    elif what in ("reject", "approve"):
        study_session.review([rng.choice(list(study_session.study.items))], approved=what == "approve")


def test_a_reader_that_is_kept_sees_what_a_new_one_sees_whatever_happens(pair_study: Study) -> None:
    study_session, people, rng = session_of(pair_study), [], Random(5)
    kept = ProgressReader(pair_study)
    for _ in range(60):
        something_happens(study_session, people, rng)
        assert kept.read() == progress(pair_study)
    kept.close()


def test_ratings_are_summed_up_by_participant_and_image(rating_study: Study) -> None:
    study_session = session_of(rating_study)
    kept = ProgressReader(rating_study)
    assert kept.read().lacking == 10
    for _ in range(3):
        take(study_session, somebody(study_session))
    report = kept.read()
    assert report == progress(rating_study)
    assert (report.lacking, report.count("finished"), report.median_s) == (0, 3, 1.0)
    assert {person.repeats_same for person in report.participants} == {0.0}
    assert all(person.checks.attention_passed < person.checks.attention for person in report.participants)
    kept.close()


def test_an_image_that_was_rejected_lacks_no_ratings(rating_study: Study) -> None:
    study_session = session_of(rating_study)
    rejected = [str(trial.image) for trial in rating_study.of_kind("trial")[:2]]
    study_session.review(rejected, approved=False)
    assert progress(rating_study).lacking == 8
    for _ in range(3):
        take(study_session, somebody(study_session))
    report = progress(rating_study)
    assert (report.lacking, report.count("finished")) == (0, 3)


def test_a_robot_is_flagged_though_all_others_are_as_fast(pair_study: Study) -> None:
    study_session = session_of(pair_study)
    for _ in range(3):
        session = somebody(study_session)
        name = who(study_session, session).participant
        while (question := study_session.state(who(study_session, session)).question) is not None:
            study_session.vote(name, question.position, "left", 400)
    assert all("fast" in person.flags for person in progress(pair_study).participants)
