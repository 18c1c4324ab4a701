"""What each error means: whether the same call would fail again, or it was the moment."""

import errno
import pickle

import pytest
from ray import ObjectID, exceptions

from actors.messages import BrokenError, DeniedError, DisturbedError, RefusedError, Rendering
from actors.pool.failures import Failure, FailureKind, failure_of, timed_out
from actors.proposers.chat.vllm_proposer import EngineDiedError
from actors.scorers.picture import rgb
from actors.service_client import ServiceError


def raised_in_actor(error: Exception) -> Failure:
    """As Ray hands it on: pickled, and wrapped in an error of its own that is an instance of both."""
    wrapped = exceptions.RayTaskError("render", "Traceback", pickle.loads(pickle.dumps(error)))  # noqa: S301
    return failure_of(wrapped.as_instanceof_cause())


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RefusedError("400 rejected by the safety system"), FailureKind.REFUSED),
        (DeniedError("401 bad key"), FailureKind.DENIED),
        (ServiceError("503 overloaded"), FailureKind.DISTURBED),
        (TimeoutError("too slow"), FailureKind.DISTURBED),
        (ConnectionResetError("by peer"), FailureKind.DISTURBED),
        (OSError(errno.ENOSPC, "No space left on device"), FailureKind.DISTURBED),
        (EngineDiedError("vLLM's engine died"), FailureKind.BROKEN),
        (BrokenError("broken"), FailureKind.BROKEN),
        (MemoryError(), FailureKind.BROKEN),
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB."), FailureKind.BROKEN),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), FailureKind.BROKEN),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), FailureKind.BROKEN),
        (ValueError("Token indices sequence length is longer than 77"), FailureKind.FAULT),
        (OSError("image file is truncated"), FailureKind.FAULT),
        (KeyError("u99"), FailureKind.FAULT),
    ],
)
def test_an_error_of_the_actors_code_counts_by_its_type(error: Exception, kind: FailureKind) -> None:
    assert raised_in_actor(error).kind is kind


@pytest.mark.parametrize("png", [b"", b"<html>", b"\x89PNG\r\n\x1a\n" + b"half"])
def test_what_a_scorer_cannot_decode_is_a_fault_of_the_input(png: bytes) -> None:
    with pytest.raises((OSError, SyntaxError)) as error:
        rgb(Rendering(png=png))
    assert failure_of(error.value).kind is FailureKind.FAULT


def test_the_pause_that_a_service_asks_for_arrives_with_the_error() -> None:
    failure = raised_in_actor(ServiceError("429 slow down", retry_after_s=7.5))
    assert (failure.kind, failure.retry_after_s) == (FailureKind.DISTURBED, 7.5)


def test_memory_and_the_gpu_cost_the_actor_and_the_call_is_to_blame() -> None:
    for error in (MemoryError(), RuntimeError("CUDA error: device-side assert triggered")):
        failure = raised_in_actor(error)
        assert failure.actor_gone and failure.known_culprit
    assert timed_out(5).actor_gone and timed_out(5).known_culprit
    assert not raised_in_actor(EngineDiedError("it restarts its engine itself")).actor_gone


@pytest.mark.parametrize(
    ("error", "kind", "actor_gone"),
    [
        (exceptions.ActorDiedError(), FailureKind.BROKEN, True),
        (exceptions.WorkerCrashedError(), FailureKind.BROKEN, True),
        (exceptions.OutOfMemoryError("killed by the memory monitor"), FailureKind.BROKEN, True),
        (exceptions.ActorUnavailableError("no connection", None), FailureKind.DISTURBED, True),
        (exceptions.NodeDiedError("gone"), FailureKind.DISTURBED, True),
        (exceptions.ObjectLostError("ab" * 28, None, ""), FailureKind.DISTURBED, True),
        (exceptions.ObjectStoreFullError("full"), FailureKind.DISTURBED, False),
        (exceptions.RaySystemError("the raylet is gone"), FailureKind.DISTURBED, False),
    ],
)
def test_an_error_of_rays_own_is_the_moments_unless_the_actors_process_ended(
    error: Exception, kind: FailureKind, actor_gone: bool
) -> None:
    failure = failure_of(error)
    assert (failure.kind, failure.actor_gone) == (kind, actor_gone)


def test_an_actor_that_went_with_its_node_is_not_the_calls_doing() -> None:
    lost = exceptions.ActorDiedError()
    lost.error_msg = "The actor died because its node has died. Node Id: 7"
    assert (failure_of(lost).kind, failure_of(lost).actor_gone) == (FailureKind.DISTURBED, True)


def test_a_lost_argument_is_told_from_another_object_that_is_lost() -> None:
    mine, other = ObjectID.from_random(), ObjectID.from_random()
    error = exceptions.RayTaskError("score", "Traceback", exceptions.ObjectLostError(mine.hex(), None, ""))
    assert failure_of(error, [other]).kind is FailureKind.DISTURBED
    found = failure_of(error, ["a", other, mine])
    assert (found.kind, found.argument) == (FailureKind.ARGUMENT_LOST, mine)


def test_an_error_whose_class_cannot_be_had_here_is_the_models_own() -> None:
    failure = failure_of(exceptions.UnserializableException("Traceback\nhpsv3.errors.TooWide: 9000 pixels"))
    assert failure.kind is FailureKind.FAULT
    assert "hpsv3.errors.TooWide: 9000 pixels" in failure.reason
    out = failure_of(exceptions.UnserializableException("Traceback\ntorch.OutOfMemoryError: CUDA out of memory."))
    assert out.kind is FailureKind.BROKEN


def test_disturbances_survive_pickling_with_what_they_know() -> None:
    error = pickle.loads(pickle.dumps(DisturbedError("busy", retry_after_s=3)))  # noqa: S301
    assert (str(error), error.retry_after_s) == ("busy", 3)
