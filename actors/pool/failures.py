"""What a failed call means: a refusal, which depends on what was asked, or a disturbance, which depends on the moment.

    raised by the actor's code                                     counts as
    RefusedError                                                   refused
    DeniedError                                                    denied: no call of the role is answered
    DisturbedError, a time-out, a connection, the system's OSError disturbed
    BrokenError                                                    broken
    out of memory, a CUDA error                                    broken, and the actor with it
    anything else                                                  a fault, of the model's code or of the input

    raised by Ray                                                  counts as
    an argument's object is lost                                   argument lost
    the actor's process ended                                      broken, and the actor with it
    its node is gone or cannot be reached, an answer is lost       disturbed, and the actor with it
    anything else                                                  disturbed

Refused is final. A disturbance says nothing of the call. Faults and breaks may be the call's doing or not, so that one
alone says nothing either; `actors.pool.actor_pool` says how many do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from actors.messages import BrokenError, DeniedError, DisturbedError, RefusedError
from predictor.error_messages import type_and_last_line

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "alloc_failed")
_GPU_ERRORS = ("cuda error", "cudnn_status", "cublas_status", "hip error")
"""After these every other call of the process fails too."""


class FailureKind(Enum):
    """What a failure depends on."""

    REFUSED = "refused"
    DENIED = "denied"
    DISTURBED = "disturbed"
    BROKEN = "broken"
    FAULT = "fault"
    ARGUMENT_LOST = "argument lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One failed attempt of a call.

    Example:

        Failure(kind=FailureKind.DISTURBED, reason="ServiceError: 503 overloaded", retry_after_s=30)
    """

    kind: FailureKind
    reason: str
    """One line, the same whenever the same call fails in the same way."""
    retry_after_s: float | None = None
    argument: Any = None
    """The reference that was lost."""
    actor_gone: bool = False
    """The actor is dead, or no good for further calls."""
    known_culprit: bool = False
    """It was this call, not another one on the same actor."""
    out_of_memory: bool = False
    """A fresh actor has more of it."""

    @property
    def error_type(self) -> str:
        """Type of the error: a call fails in the same way again if this is the same."""
        return self.reason.partition(":")[0]


def timed_out(timeout_s: float) -> Failure:
    """A call has run for longer than its role's `timeout_s`, and its actor is stuck in it."""
    reason = f"no answer within {timeout_s:g} s"
    return Failure(kind=FailureKind.BROKEN, reason=reason, actor_gone=True, known_culprit=True)


def failure_of(error: Exception, arguments: Sequence[Any] = ()) -> Failure:
    """What an error of Ray means, or the error of the actor that Ray's wraps; `arguments` are the call's."""
    from ray import exceptions

    cause = getattr(error, "cause", None) if isinstance(error, exceptions.RayTaskError) else error
    if isinstance(error, exceptions.RayTaskError) and isinstance(cause, exceptions.ObjectLostError):
        lost = [argument for argument in arguments if _is(argument, cause.object_ref_hex)]
        if lost:
            return Failure(
                kind=FailureKind.ARGUMENT_LOST, reason="an argument was lost with its node", argument=lost[0]
            )
    if isinstance(cause, exceptions.UnserializableException) or type(cause) is exceptions.RayError:
        return _of_the_actors_code(cause)  # its own error, of a class that cannot be had here
    if isinstance(cause, exceptions.RayError):
        return _of_ray(cause)
    return _of_the_actors_code(cause or error)


def _of_the_actors_code(error: Exception) -> Failure:
    reason = type_and_last_line(error)
    match error:
        case RefusedError():
            return Failure(kind=FailureKind.REFUSED, reason=reason)
        case DeniedError():
            return Failure(kind=FailureKind.DENIED, reason=reason)
        case BrokenError():
            return Failure(kind=FailureKind.BROKEN, reason=reason)
        case DisturbedError():
            return Failure(kind=FailureKind.DISTURBED, reason=reason, retry_after_s=error.retry_after_s)
        case MemoryError():
            return _without_memory()
        case TimeoutError() | ConnectionError():
            return Failure(kind=FailureKind.DISTURBED, reason=reason)
        case OSError() if error.errno is not None:  # libraries raise OSErrors of their own too, which have no number
            return Failure(kind=FailureKind.DISTURBED, reason=reason)
    said = str(error).lower()
    if any(sign in said for sign in _OUT_OF_MEMORY):
        return _without_memory()
    if any(sign in said for sign in _GPU_ERRORS):
        return Failure(kind=FailureKind.BROKEN, reason="the GPU failed", actor_gone=True, known_culprit=True)
    return Failure(kind=FailureKind.FAULT, reason=reason)


def _without_memory() -> Failure:
    return Failure(
        kind=FailureKind.BROKEN,
        reason="the actor ran out of memory",
        actor_gone=True,
        known_culprit=True,
        out_of_memory=True,
    )


def _of_ray(error: Exception) -> Failure:
    from ray import exceptions

    ended = (exceptions.ActorDiedError, exceptions.WorkerCrashedError, exceptions.OutOfMemoryError)
    away = (exceptions.RayActorError, exceptions.NodeDiedError, exceptions.ObjectLostError)
    if isinstance(error, ended) and "node has died" not in str(error) and not getattr(error, "preempted", False):
        return Failure(kind=FailureKind.BROKEN, reason="the actor died", actor_gone=True)
    gone = isinstance(error, (*ended, *away))
    return Failure(kind=FailureKind.DISTURBED, reason=type_and_last_line(error), actor_gone=gone)


def _is(argument: Any, lost: str) -> bool:
    import ray

    return isinstance(argument, ray.ObjectRef) and argument.hex() == lost
