import threading
import time
from collections.abc import Iterator

import pytest

from predictor.threads import thread_map


def test_results_come_in_the_order_of_the_items_although_later_ones_are_done_first() -> None:
    def waiting(item: int) -> int:
        time.sleep(0.02 * (item % 2 == 0))
        return item * item

    assert list(thread_map(waiting, range(20))) == [item * item for item in range(20)]


def test_an_error_is_raised_in_its_items_turn_and_nothing_is_begun_after_it() -> None:
    begun = []

    def failing(item: int) -> int:
        begun.append(item)
        if item == 3:
            raise ValueError("item 3")
        return item

    results = thread_map(failing, range(10_000))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="item 3"):
        next(results)
    assert len(begun) < 1000
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPoolExecutor")]


def test_items_are_taken_only_as_results_are() -> None:
    taken = []

    def items() -> Iterator[int]:
        for item in range(10_000):
            taken.append(item)
            yield item

    next(thread_map(str, items()))
    assert len(taken) < 1000
