"""What a participant meets next."""

from collections import Counter
from itertools import pairwise

import pytest

from studies.results.answers import ratings_table, votes_table
from studies.session import Question, StudySession
from studies.store.store import Participant, Store
from studies.study import Study


def session_of(study: Study, approve_all: bool = True) -> StudySession:
    return StudySession(study, Store(study.database), approve_all=approve_all)


def somebody(study_session: StudySession, user: str | None = None) -> str:
    """A participant who has consented and told nothing of themselves; returns the session."""
    (name, token) = study_session.store.invite([user])[0]
    session = study_session.store.join(token)
    assert session is not None
    study_session.store.consent(name)
    study_session.store.record_demographics(name, {})
    return session


def who(study_session: StudySession, session: str) -> Participant:
    found = study_session.store.participant(session)
    assert found is not None
    return found


def take(study_session: StudySession, session: str, most: int = 1000) -> list[Question]:
    """Answer everything, left or 50, and go on after breaks."""
    met = []
    for _ in range(most):
        state = study_session.state(who(study_session, session))
        if state.stage == "break":
            assert study_session.next_block(who(study_session, session))
        elif state.question is None:
            return met
        else:
            met.append(state.question)
            name, position = who(study_session, session).participant, state.question.position
            if state.question.image is None:
                study_session.vote(name, position, "left", 1000)
            else:
                study_session.rate(name, position, 50.0, 1000)
    return met


def test_the_stages_follow_each_other(pair_study: Study) -> None:
    study_session = session_of(pair_study)
    (name, token) = study_session.store.invite(["u1"])[0]
    session = study_session.store.join(token) or ""
    assert study_session.state(who(study_session, session)).stage == "consent"
    study_session.store.consent(name)
    assert study_session.state(who(study_session, session)).stage == "about"
    study_session.store.record_demographics(name, {"age": "30"})
    state = study_session.state(who(study_session, session))
    assert state.stage == "trial"
    assert state.question is not None
    assert state.question.trial.kind == "practice"


def test_a_known_user_meets_all_their_blocks_with_breaks_and_a_stranger_one(pair_study: Study) -> None:
    study_session = session_of(pair_study)
    own, other = somebody(study_session, "u1"), somebody(study_session)
    met = take(study_session, own)
    trials = [q for q in met if q.trial.kind == "trial"]
    assert {q.trial.block for q in trials} == set(pair_study.blocks_of("u1"))
    assert {q.trial.user for q in trials} == {"u1"}
    assert study_session.state(who(study_session, own)).stage == "done"
    strange = [q for q in take(study_session, other) if q.trial.kind == "trial"]
    assert len({q.trial.block for q in strange}) == 1
    assert {q.trial.user for q in strange} == {None}


def test_practice_comes_first_and_once_and_checks_are_in_every_block(pair_study: Study) -> None:
    study_session = session_of(pair_study)
    met = take(study_session, somebody(study_session, "u2"))
    kinds = [q.trial.kind for q in met]
    assert kinds[:2] == ["practice", "practice"]
    assert Counter(kinds)["practice"] == 2
    assert Counter(kinds)["attention"] == len(pair_study.blocks_of("u2"))


def test_strangers_share_the_blocks_evenly_and_every_second_one_sees_the_sides_exchanged(pair_study: Study) -> None:
    study_session = session_of(pair_study)
    blocks = pair_study.blocks_of(None)
    sides: dict[str, list[tuple[str | None, str | None]]] = {}
    begun: Counter[int] = Counter()
    for _ in range(2 * len(blocks)):
        met = [q for q in take(study_session, somebody(study_session)) if q.trial.kind == "trial"]
        begun[met[0].trial.block] += 1
        first = {q.trial.trial_id: (q.left, q.right) for q in reversed(met)}
        for trial_id, shown in first.items():
            sides.setdefault(trial_id, []).append(shown)
    assert set(begun.values()) == {2}
    assert all(one == other[::-1] for one, other in sides.values())


def test_orders_differ_between_participants_and_not_between_reloads(pair_study: Study) -> None:
    study_session = session_of(pair_study)
    one = somebody(study_session, "u1")
    before = study_session.state(who(study_session, one))
    again = session_of(pair_study).state(who(study_session, one))
    assert before == again
    orders = [
        [q.trial.trial_id for q in take(study_session, somebody(study_session, "u1")) if q.trial.kind == "trial"]
        for _ in range(2)
    ]
    assert orders[0] != orders[1]
    assert sorted(set(orders[0])) == sorted(set(orders[1]))


def test_nobody_begins_before_every_image_is_reviewed_and_rejected_ones_are_never_shown(pair_study: Study) -> None:
    study_session = session_of(pair_study, approve_all=False)
    session = somebody(study_session, "u1")
    assert study_session.state(who(study_session, session)).stage == "waiting"
    bad = next(item for item in pair_study.items.values() if item.user == "u1" and item.prompt_id == "p1")
    study_session.review([item for item in pair_study.items if item != bad.item_id], approved=True)
    assert study_session.state(who(study_session, session)).stage == "waiting"
    study_session.review([bad.item_id], approved=False)
    met = take(study_session, session)
    assert met
    assert all(bad.item_id not in (q.left, q.right, *q.ahead) for q in met)


def test_an_image_that_is_rejected_later_disappears_from_what_is_under_way(pair_study: Study) -> None:
    study_session = session_of(pair_study)
    session = somebody(study_session, "u1")
    question = study_session.state(who(study_session, session)).question
    assert question is not None and question.left is not None
    study_session.review([question.left], approved=False)
    following = study_session.state(who(study_session, session)).question
    assert following is not None
    assert following.position == question.position + 1


def test_answers_out_of_turn_or_out_of_range_are_refused(pair_study: Study) -> None:
    study_session = session_of(pair_study)
    session = somebody(study_session, "u1")
    take(study_session, session, most=1)
    name = who(study_session, session).participant
    with pytest.raises(ValueError, match="trial 7 was not asked yet"):
        study_session.vote(name, 7, "left", None)
    with pytest.raises(ValueError, match="must be one of left, right, got 'tie'"):
        study_session.vote(name, 1, "tie", None)
    with pytest.raises(ValueError, match="none with one image"):
        study_session.rate(name, 1, 50, None)
    study_session.vote(name, 0, "right", None)  # sent again: taken, and does not count
    assert len(votes_table(pair_study)) == 1


def test_images_that_lack_ratings_most_are_handed_out_first(rating_study: Study) -> None:
    study_session = session_of(rating_study)
    for _ in range(3):
        take(study_session, somebody(study_session))
    rows = [row for row in ratings_table(rating_study).to_pylist() if row["kind"] == "trial" and not row["repeat"]]
    counts = Counter(row["image_id"] for row in rows)
    assert set(counts.values()) == {3}
    assert len(counts) == 10
    assert max(Counter((row["participant"], row["image_id"]) for row in rows).values()) == 1


def test_counts_stay_level_while_participants_come_and_go(rating_study: Study) -> None:
    study_session = session_of(rating_study)
    for _ in range(5):
        take(study_session, somebody(study_session), most=7)  # two for practice, and the first block
        counts = study_session.store.trial_counts(since="2000")
        level = [counts.get(trial.trial_id, 0) for trial in rating_study.of_kind("trial")]
        assert max(level) - min(level) <= 1


def test_a_full_rating_study_says_so_to_who_comes_late(rating_study: Study) -> None:
    study_session = session_of(rating_study)
    for _ in range(3):
        take(study_session, somebody(study_session))
    assert study_session.state(who(study_session, somebody(study_session))).stage == "full"


def test_who_comes_too_late_is_told_before_they_agree_to_anything(rating_study: Study) -> None:
    study_session = session_of(rating_study)
    (_, token) = study_session.store.invite([None])[0]
    session = study_session.store.join(token) or ""
    assert study_session.state(who(study_session, session)).stage == "consent"
    for _ in range(3):
        take(study_session, somebody(study_session))
    assert study_session.state(who(study_session, session)).stage == "full"


def test_a_study_does_not_close_because_those_who_came_first_have_left(rating_study: Study) -> None:
    study_session = session_of(rating_study)
    for _ in range(9):  # three times as many as are needed take a block, and are never seen again
        assert study_session.state(who(study_session, somebody(study_session))).stage == "trial"
    for _ in range(3):
        assert len({q.image for q in take(study_session, somebody(study_session)) if q.trial.kind == "trial"}) == 10
    assert study_session.state(who(study_session, somebody(study_session))).stage == "full"


def test_what_somebody_left_half_an_hour_ago_goes_first_again(rating_study: Study) -> None:
    study_session = session_of(rating_study)
    left = who(study_session, somebody(study_session))
    study_session.state(left)
    handed = study_session.store.met(left.participant)
    study_session.store._run("UPDATE participants SET last_seen_at = ?", "2020-01-01T00:00:00.000+00:00")
    counts = study_session.store.trial_counts(since="2025")
    assert [counts.get(trial_id, 0) for trial_id in handed] == [0] * len(handed)


def test_an_image_that_is_approved_after_all_is_asked_about_again(pair_study: Study) -> None:
    study_session = session_of(pair_study)
    session = somebody(study_session, "u1")
    before = study_session.state(who(study_session, session)).question
    assert before is not None and before.left is not None
    study_session.review([before.left], approved=False)
    study_session.review([before.left], approved=True)
    assert study_session.state(who(study_session, session)).question == before


def test_images_ahead_are_named_in_the_order_in_which_they_will_stand(pair_study: Study) -> None:
    study_session = session_of(pair_study)
    met = take(study_session, somebody(study_session, "u1"))
    for question, following in pairwise(met):
        if question.ahead:
            assert question.ahead[:2] == (following.left, following.right)


def test_nobody_meets_an_attention_check_twice(pair_study: Study) -> None:
    study_session = session_of(pair_study)
    met = take(study_session, somebody(study_session, "u1"))
    checks = [q.trial.trial_id for q in met if q.trial.kind == "attention"]
    assert len(checks) == len(set(checks)) == len(pair_study.blocks_of("u1"))
