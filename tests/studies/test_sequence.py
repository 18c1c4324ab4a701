"""The order in which one participant meets a block."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from studies.sequence import order_block
from studies.study import Trial

TRIALS = st.integers(1, 60).map(
    lambda n: [Trial(trial_id=f"t{i}", block=1, prompt_id="p", prompt="p") for i in range(n)]
)
CHECK = Trial(trial_id="check", block=0, prompt_id="p", prompt="p", kind="attention", expected="left")


@given(trials=TRIALS, repeats=st.floats(0, 0.5), seed=st.text(max_size=5), swapped=st.booleans())
def test_every_trial_comes_once_and_some_a_second_time_with_sides_exchanged(
    trials: list[Trial], repeats: float, seed: str, swapped: bool
) -> None:
    order = order_block(trials, [CHECK], block=1, repeats=repeats, swapped=swapped, seed=seed)
    firsts = [a for a in order if not a.repeat and a.trial_id != "check"]
    assert Counter(a.trial_id for a in firsts) == Counter(t.trial_id for t in trials)
    assert all(a.swapped == swapped for a in firsts)
    seconds = [a for a in order if a.repeat]
    assert len(seconds) == min(len(trials) // 3, round(repeats * len(trials)))
    assert all(a.swapped != swapped for a in seconds)
    assert len({a.trial_id for a in seconds}) == len(seconds)
    assert [a.trial_id for a in order].count("check") == 1


@given(trials=TRIALS, seed=st.text(max_size=5))
def test_a_repeat_comes_at_least_a_third_of_the_block_later(trials: list[Trial], seed: str) -> None:
    order = order_block(trials, [], block=1, repeats=0.5, swapped=False, seed=seed)
    for place, assigned in enumerate(order):
        if assigned.repeat:
            first = next(i for i, a in enumerate(order) if a.trial_id == assigned.trial_id)
            assert place - first >= len(trials) // 3


@given(trials=TRIALS, seed=st.text(max_size=5))
def test_the_same_seed_gives_the_same_order(trials: list[Trial], seed: str) -> None:
    one, two = (order_block(trials, [CHECK], block=1, repeats=0.2, swapped=False, seed=seed) for _ in range(2))
    assert one == two
