"""The researcher's pages: how the study goes, images to approve, and the answers as tables and as a report."""

import asyncio
import hashlib
import hmac
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from studies.results.answers import participants_table, ratings_table, votes_table
from studies.results.export import csv_of
from studies.results.progress import ProgressReader, StudyProgress
from studies.session import StudySession
from studies.store.store import Store
from studies.study import Study
from studies.web.rendering import Rendering

if TYPE_CHECKING:
    from studies.web.app import ServedStudy

PER_PAGE = 60
"""Images of a contact sheet."""

PEOPLE_PER_PAGE = 200
LEAST_REST = 4
"""How many times longer than it took to make it the overview is shown again: it takes a fifth of one core at most."""


class Overview:
    """How the study goes, as a page: made by one thread at a time, and not anew for everyone who reloads it.

    Parameters
    ----------
    render
        Makes the page of that number from what was read.
    """

    def __init__(self, study: Study, render: Callable[[StudyProgress, int], str]) -> None:
        self._study, self._render = study, render
        self._lock = threading.Lock()
        self._reader: ProgressReader | None = None
        self._pages: dict[int, str] = {}
        self._fresh_until = 0.0

    def open(self) -> None:
        """Sum up what is there, before anybody waits for it."""
        with self._lock:
            if self._reader is None:
                self._reader = ProgressReader(self._study)
                self._reader.read()

    def close(self) -> None:
        with self._lock:
            if self._reader is not None:
                self._reader.close()
                self._reader = None

    def forget(self) -> None:
        """What the researcher has just done is to be seen at once."""
        self._fresh_until = 0.0

    def page(self, number: int) -> str:
        self.open()
        with self._lock:
            assert self._reader is not None
            started = time.monotonic()
            if started >= self._fresh_until:
                self._pages.clear()
            if number not in self._pages:
                self._pages[number] = self._render(self._reader.read(), number)
                now = time.monotonic()
                self._fresh_until = now + LEAST_REST * (now - started)
            return self._pages[number]


REPORT_TIMEOUT_S = 300.0
_REPORT = "import os; os.nice(10); from studies.cli.main import main; main()"
"""steer-study in a process of its own, which leaves this one the machine while people vote."""

_REPORT_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
"""A report stands alone: its styles and pictures are inside, and it has no script."""


def is_researcher(request: Request) -> bool:
    served = request.app.state.served
    shown = request.cookies.get(served.researcher_cookie, "")
    return hmac.compare_digest(shown.encode(), _pass(served.researcher_token).encode())


async def overview(request: Request) -> Response:
    """Progress, participants and warnings; a form for the token where there is no session."""
    served = request.app.state.served
    if "token" in request.query_params:
        return _sign_in(request, request.query_params["token"])
    if not is_researcher(request):
        return HTMLResponse(served.rendering.render("login.html", {}), 401)
    return HTMLResponse(await run_in_threadpool(served.overview.page, _number(request)))


def render_overview(rendering: Rendering, study_session: StudySession, report: StudyProgress, number: int) -> str:
    """One page of participants with all that is said of the study as a whole."""
    pages = max(1, -(-len(report.participants) // PEOPLE_PER_PAGE))
    page = min(number, pages)
    context = {
        "report": report,
        "people": report.participants[(page - 1) * PEOPLE_PER_PAGE : page * PEOPLE_PER_PAGE],
        "blocks": [block for block in report.blocks if block.user is None],
        "waiting": len(study_session.unreviewed),
        "rejected": len(study_session.rejected),
        "closed": study_session.store.closed,
        "now": datetime.now(UTC),
        "page": page,
        "pages": pages,
    }
    return rendering.render("researcher.html", context)


async def login(request: Request) -> Response:
    form = await request.form()
    return _sign_in(request, str(form.get("token", "")))


async def images(request: Request) -> Response:
    """Images to be approved or rejected, a page at a time: those that nobody has reviewed, or with `all` every one."""
    _refuse_others(request)
    study_session = request.app.state.served.study_session
    every = "all" in request.query_params
    if request.method == "POST":
        form = await request.form()
        shown = [str(value) for key, value in form.multi_items() if key == "shown"]
        rejected = [item for item in shown if f"reject-{item}" in form]
        approved = [item for item in shown if f"reject-{item}" not in form]
        try:
            await run_in_threadpool(study_session.review, approved, approved=True)
            await run_in_threadpool(study_session.review, rejected, approved=False)
        except ValueError as error:
            raise HTTPException(400, str(error)) from error
        request.app.state.served.overview.forget()
        more = study_session.unreviewed and not every
        return RedirectResponse("/researcher/images" if more else "/researcher", 303)
    waiting = list(study_session.study.items) if every else study_session.unreviewed
    pages = max(1, -(-len(waiting) // PER_PAGE))
    page = min(pages, _number(request))
    context = {
        "shown": [study_session.study.items[item] for item in waiting[(page - 1) * PER_PAGE : page * PER_PAGE]],
        "rejected": study_session.rejected,
        "waiting": len(study_session.unreviewed),
        "every": every,
        "page": page,
        "pages": pages,
    }
    return HTMLResponse(request.app.state.served.rendering.render("images.html", context))


async def close(request: Request) -> Response:
    """Nobody new is let in from now on."""
    return await _changed(request, Store.close_to_newcomers)


async def reopen(request: Request) -> Response:
    return await _changed(request, Store.reopen)


async def _changed(request: Request, change: Callable[[Store], object]) -> Response:
    """The researcher's page once something of the study was changed."""
    _refuse_others(request)
    served = request.app.state.served
    await run_in_threadpool(change, served.study_session.store)
    served.overview.forget()
    return RedirectResponse("/researcher", 303)


async def report(request: Request) -> Response:
    """The report on the votes so far, made now."""
    _refuse_others(request)
    served = request.app.state.served
    async with served.report_lock:
        with tempfile.TemporaryDirectory() as folder:
            await _make_report(served.study_session.study.folder, Path(folder))
            page = await run_in_threadpool((Path(folder) / "report.html").read_text, "utf-8")
    return HTMLResponse(page, headers={"Content-Security-Policy": _REPORT_POLICY})


async def _make_report(study: Path, out: Path) -> None:
    arguments = ["-c", _REPORT, "elo", str(study), "--out", str(out)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(REPORT_TIMEOUT_S):
            _, said = await process.communicate()
    except TimeoutError as error:
        raise HTTPException(
            409, f"The report was not there after {REPORT_TIMEOUT_S:.0f} seconds; make it by steer-study elo."
        ) from error
    finally:
        if process.returncode is None:  # the time is up, or the researcher has left
            process.kill()
            await process.wait()
    if process.returncode:
        lines = said.decode(errors="replace").strip().splitlines()
        raise HTTPException(409, lines[-1] if lines else "The report was stopped; make it by steer-study elo.")


async def export(request: Request) -> Response:
    """A table as CSV: votes, ratings or participants."""
    _refuse_others(request)
    tables = {"votes": votes_table, "ratings": ratings_table, "participants": participants_table}
    read = tables.get(request.path_params["table"])
    if read is None:
        raise HTTPException(404)
    try:
        table = await run_in_threadpool(read, request.app.state.served.study_session.study)
    except ValueError as error:
        raise HTTPException(409, str(error)) from error
    headers = {"Content-Disposition": f'attachment; filename="{request.path_params["table"]}.csv"'}
    return Response(csv_of(table), media_type="text/csv; charset=utf-8", headers=headers)


def _sign_in(request: Request, token: str) -> Response:
    served = request.app.state.served
    if not hmac.compare_digest(token.encode(), served.researcher_token.encode()):
        return HTMLResponse(served.rendering.render("login.html", {"wrong": True}), 401)
    response = RedirectResponse("/researcher", 303)
    secure = request.url.scheme == "https"
    response.set_cookie(served.researcher_cookie, _pass(token), httponly=True, samesite="strict", secure=secure)
    return response


def _number(request: Request) -> int:
    """Of the page that is asked for, from 1."""
    number = request.query_params.get("page", "")
    return max(1, int(number)) if number.isdecimal() and len(number) < 9 else 1


def signed_in_cookie(served: "ServedStudy") -> str:
    """As the researcher's browser sends it."""
    return f"{served.researcher_cookie}={_pass(served.researcher_token)}"


def _pass(token: str) -> str:
    """What the researcher's browser keeps: it opens the pages, but does not tell the token."""
    return hashlib.sha256(f"researcher/{token}".encode()).hexdigest()


def _refuse_others(request: Request) -> None:
    if not is_researcher(request):
        raise HTTPException(403, "Please sign in with the researcher's token first.")
