"""The researcher's pages: how the study goes, images to approve, and the answers as tables."""

import hashlib
import hmac

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from studies.results.answers import participants_table, ratings_table, votes_table
from studies.results.export import csv_of
from studies.results.progress import progress

PER_PAGE = 60


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
        return served.templates.TemplateResponse(request, "login.html", {}, 401)
    report = await run_in_threadpool(progress, served.study_session.study)
    waiting = len(served.study_session.unreviewed)
    context = {"report": report, "waiting": waiting, "rejected": len(served.study_session.rejected)}
    return served.templates.TemplateResponse(request, "researcher.html", context)


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
        more = study_session.unreviewed and not every
        return RedirectResponse("/researcher/images" if more else "/researcher", 303)
    waiting = list(study_session.study.items) if every else study_session.unreviewed
    pages = max(1, -(-len(waiting) // PER_PAGE))
    number = request.query_params.get("page", "1")
    page = min(pages, max(1, int(number))) if number.isdecimal() else 1
    context = {
        "shown": [study_session.study.items[item] for item in waiting[(page - 1) * PER_PAGE : page * PER_PAGE]],
        "rejected": study_session.rejected,
        "waiting": len(study_session.unreviewed),
        "every": every,
        "page": page,
        "pages": pages,
    }
    return request.app.state.served.templates.TemplateResponse(request, "images.html", context)


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
        return served.templates.TemplateResponse(request, "login.html", {"wrong": True}, 401)
    response = RedirectResponse("/researcher", 303)
    secure = request.url.scheme == "https"
    response.set_cookie(served.researcher_cookie, _pass(token), httponly=True, samesite="strict", secure=secure)
    return response


def _pass(token: str) -> str:
    """What the researcher's browser keeps: it opens the pages, but does not tell the token."""
    return hashlib.sha256(f"researcher/{token}".encode()).hexdigest()


def _refuse_others(request: Request) -> None:
    if not is_researcher(request):
        raise HTTPException(403, "Please sign in with the researcher's token first.")
