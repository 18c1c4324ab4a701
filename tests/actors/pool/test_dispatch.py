from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from actors.pool.dispatch import Call, Dispatch, Worker


def with_actors(number: int, limit: int = 2) -> Dispatch[Worker[Call], Call]:
    dispatch: Dispatch[Worker[Call], Call] = Dispatch(limit)
    dispatch.workers += [Worker() for _ in range(number)]
    return dispatch


def join(dispatch: Dispatch[Worker[Call], Call], *alone: bool, is_retry: bool = False) -> list[Call]:
    calls = [Call(alone=each) for each in alone]
    for call in calls:
        dispatch.join(call, is_retry=is_retry)
    return calls


def test_a_call_goes_to_the_least_loaded_actor_below_its_limit() -> None:
    dispatch = with_actors(2)
    calls = join(dispatch, *[False] * 5)

    dispatch.place()

    assert [worker.calls for worker in dispatch.workers] == [[calls[0], calls[2]], [calls[1], calls[3]]]
    assert dispatch.drain() == [calls[4]]


def test_what_is_made_again_goes_before_what_has_not_been_made() -> None:
    dispatch = with_actors(1, limit=1)
    (new,) = join(dispatch, False)
    (again,) = join(dispatch, False, is_retry=True)

    assert [call for _, call in dispatch.place()] == [again]
    assert dispatch.drain() == [new]


def test_one_actor_is_kept_for_a_call_that_is_made_alone_and_the_others_go_on() -> None:
    dispatch = with_actors(2)
    before = join(dispatch, *[False] * 4)
    dispatch.place()
    (alone,) = join(dispatch, True)
    behind = join(dispatch, *[False] * 4)
    first, second = dispatch.workers

    first.calls.remove(before[0])
    assert dispatch.place() == []
    second.calls.remove(before[1])
    assert dispatch.place() == [(second, behind[0])]
    first.calls.remove(before[2])
    assert dispatch.place() == [(first, alone)]
    second.calls.clear()
    assert dispatch.place() == [(second, behind[1]), (second, behind[2])]


def test_whoever_gives_up_waiting_is_not_put_on_an_actor() -> None:
    dispatch = with_actors(0)
    first, second = join(dispatch, True, False)
    dispatch.leave(first)
    dispatch.workers.append(Worker())

    assert [call for _, call in dispatch.place()] == [second]


class Withdrawn(Call):
    withdrawn = True


def test_a_call_that_was_withdrawn_is_dropped_and_the_one_behind_it_gets_its_turn() -> None:
    dispatch = with_actors(1, limit=1)
    for _ in range(3):
        dispatch.join(Withdrawn(alone=True), is_retry=False)
    (waiting,) = join(dispatch, False)

    assert [call for _, call in dispatch.place()] == [waiting]
    assert dispatch.drain() == []


def test_a_call_waits_for_an_actor_that_it_does_not_avoid_while_those_behind_it_go_on() -> None:
    dispatch = with_actors(2, limit=1)
    first, second = dispatch.workers
    busy = Call(alone=False)
    second.calls.append(busy)
    picky = Call(alone=False, avoided={first})
    dispatch.join(picky, is_retry=True)
    (behind,) = join(dispatch, False)

    assert dispatch.place() == [(first, behind)]
    second.calls.remove(busy)
    assert dispatch.place() == [(second, picky)]


def test_an_actor_that_is_avoided_takes_the_call_where_there_is_no_other() -> None:
    dispatch = with_actors(1)
    call = Call(alone=False, avoided={dispatch.workers[0]})
    dispatch.join(call, is_retry=True)

    assert dispatch.place() == [(dispatch.workers[0], call)]


@given(
    st.integers(1, 4),
    st.integers(1, 3),
    st.lists(st.booleans(), max_size=30),
    st.data(),
)
def test_no_actor_is_overloaded_nobody_shares_with_a_call_made_alone_and_all_get_their_turn(
    actors: int, limit: int, alone: list[bool], data: st.DataObject
) -> None:
    """Actors answer one call after the other, in any order among them; some are lost and come back empty."""
    dispatch = with_actors(actors, limit)
    calls = [Call(alone=each) for each in alone]
    due = deque(calls)
    begun: list[Call] = []
    answered = lost = 0
    while answered + lost < len(alone):
        arriving = data.draw(st.integers(0 if any(worker.calls for worker in dispatch.workers) else 1, 5)) if due else 0
        for _ in range(min(arriving, len(due))):
            dispatch.join(due.popleft(), is_retry=False)
        begun += [call for _, call in dispatch.place()]
        for worker in dispatch.workers:
            assert len(worker.calls) <= limit
            assert len(worker.calls) == 1 or not any(call.alone for call in worker.calls)
        busy = [worker for worker in dispatch.workers if worker.calls]
        assert busy, "calls are queued, and nobody works"
        worker = data.draw(st.sampled_from(busy))
        if data.draw(st.integers(0, 9)) == 0:
            lost += len(worker.calls)
            dispatch.workers[dispatch.workers.index(worker)] = Worker()
        else:
            worker.calls.pop(0)
            answered += 1
    for kind in (True, False):
        assert [call for call in begun if call.alone is kind] == [call for call in calls if call.alone is kind]
