import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from predictor.threads import made_once, one_blas_thread, thread_map


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


def test_what_is_made_once_is_made_by_one_of_several_threads_that_want_it_at_the_same_time() -> None:
    made = []

    @made_once
    def network() -> object:
        made.append(object())
        time.sleep(0.05)
        return made[-1]

    assert set(thread_map(lambda _: network(), range(8), threads=4)) == set(made)
    assert len(made) == 1


def test_products_of_matrices_are_on_one_thread_until_the_last_user_has_left() -> None:
    def threads() -> set[int]:
        return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}

    np.ones((2, 2)) @ np.ones((2, 2))  # so that BLAS is there
    with threadpool_limits(2, "blas"):
        assert threads() == {2}
        one_blas_thread.__enter__()
        one_blas_thread.__enter__()
        one_blas_thread.__exit__()
        assert threads() == {1}
        one_blas_thread.__exit__()
        assert threads() == {2}
