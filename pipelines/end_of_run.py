"""The notice that a run has ended, however it did: to a command, a web address, both or neither.

Both get the same JSON: the command on its standard input, the address as the body of a POST. The address may be a
secret, as a chat's incoming webhook is, so the settings name the environment variable that holds it. Invariant: neither
changes the run or its exit status; what goes wrong is a line in run.log and on the screen.
"""

import http.client
import json
import logging
import os
import shlex
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

logger = logging.getLogger(__name__)

Ending = Literal["finished", "some failed", "interrupted", "stopped", "error"]

_TIMEOUT_S = 60.0


def end_notice(out: Path, ending: Ending, reason: str = "", counts: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What a notice says of a run.

    Example:

        end_notice(Path("runs/first"), "stopped", "renderer: 402 no credit")["text"]
            == "steer-batch runs/first: stopped: renderer: 402 no credit"
    """
    why = f": {reason}" if reason else ""
    return {
        "run": str(out),
        "ending": ending,
        "reason": reason,
        "counts": dict(counts or {}),
        "text": f"steer-batch {out}: {ending}{why}",
    }


def send_notice(
    notice: Mapping[str, Any], command: str | None, webhook_env: str | None, report_problem: Callable[[str], None]
) -> None:
    """Send a notice to the command and the address that the settings name.

    Parameters
    ----------
    command : str or None
        As a shell would split it; it is run without one.
    webhook_env : str or None
        Environment variable that holds the address.
    report_problem : callable
        Called with a line for each that could not be sent to.
    """
    body = json.dumps(notice).encode()
    for setting, attempt in (
        ("end_command", None if command is None else lambda: _run(command, body)),
        ("end_webhook_env", None if webhook_env is None else lambda: _post(webhook_env, body)),
    ):
        if attempt is None:
            continue
        try:
            attempt()
        except (OSError, ValueError, http.client.HTTPException, subprocess.SubprocessError) as error:
            logger.warning("%s: %s", setting, type(error).__name__)
            report_problem(f"{setting}: the end of the run could not be told: {_reason(error)}")


def _run(command: str, body: bytes) -> None:
    subprocess.run(shlex.split(command), input=body, check=True, capture_output=True, timeout=_TIMEOUT_S)


def _post(webhook_env: str, body: bytes) -> None:
    address = os.environ.get(webhook_env, "").strip()
    if not address.startswith(("http://", "https://")):
        raise ValueError(f"{webhook_env} holds no http address where steer-batch runs")
    request = urllib.request.Request(address, data=body, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S):
        pass


def _reason(error: Exception) -> str:
    """In one line, without the address, which may be a secret."""
    match error:
        case subprocess.CalledProcessError():
            last = error.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
            return f"it ended with status {error.returncode} {' '.join(last)}".strip()
        case subprocess.TimeoutExpired():
            return f"it took longer than {_TIMEOUT_S:g} s"
        case urllib.error.HTTPError():
            return f"the address answered {error.code}"
        case ValueError():
            return str(error)
        case _:
            return getattr(error, "strerror", None) or str(getattr(error, "reason", "")) or type(error).__name__
