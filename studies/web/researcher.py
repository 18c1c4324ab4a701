"""The researcher's pages: how the study goes, images to approve, and the answers as tables."""

import csv
import hashlib
import hmac
import io

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from studies.answers import participants_table, ratings_table, votes_table
from studies.progress import progress

COOKIE = "researcher"
PER_PAGE = 60


def is_researcher(request: Request) -> bool:
    token = request.app.state.served.researcher_token
    return hmac.compare_digest(request.cookies.get(COOKIE, ""), _pass(token))


async def overview(request: Request) -> Response:
    """Progress, participants and warnings; a form for the token where there is no session."""
    served = request.app.state.served
    if "token" in request.query_params:
        return _sign_in(request, request.query_params["token"])
    if not is_researcher(request):
        return served.templates.TemplateResponse(request, "login.html", {}, 401)
    report = await run_in_threadpool(progress, served.conduct.study)
    waiting = len(served.conduct.unreviewed)
    context = {"report": report, "waiting": waiting, "rejected": len(served.conduct.rejected)}
    return served.templates.TemplateResponse(request, "researcher.html", context)


async def login(request: Request) -> Response:
    form = await request.form()
    return _sign_in(request, str(form.get("token", "")))


async def images(request: Request) -> Response:
    """Images that nobody has seen yet, to be approved or rejected; a page of them at a time."""
    _refuse_others(request)
    conduct = request.app.state.served.conduct
    if request.method == "POST":
        form = await request.form()
        approved = [str(v) for k, v in form.multi_items() if k == "shown" and form.get(f"reject-{v}") is None]
        rejected = [str(v) for k, v in form.multi_items() if k == "shown" and form.get(f"reject-{v}") is not None]
        try:
            await run_in_threadpool(conduct.review, approved, approved=True)
            await run_in_threadpool(conduct.review, rejected, approved=False)
        except ValueError as error:
            raise HTTPException(400, str(error)) from error
        return RedirectResponse("/researcher/images" if conduct.unreviewed else "/researcher", 303)
    waiting = conduct.unreviewed
    shown = [conduct.study.items[item] for item in waiting[:PER_PAGE]]
    context = {"shown": shown, "waiting": len(waiting)}
    return request.app.state.served.templates.TemplateResponse(request, "images.html", context)


async def export(request: Request) -> Response:
    """A table as CSV: votes, ratings or participants."""
    _refuse_others(request)
    tables = {"votes": votes_table, "ratings": ratings_table, "participants": participants_table}
    read = tables.get(request.path_params["table"])
    if read is None:
        raise HTTPException(404)
    try:
        table = await run_in_threadpool(read, request.app.state.served.conduct.study)
    except ValueError as error:
        raise HTTPException(409, str(error)) from error
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(table.column_names)
    rows.writerows(_unfolded(row.values()) for row in table.to_pylist())
    headers = {"Content-Disposition": f'attachment; filename="{request.path_params["table"]}.csv"'}
    return Response(text.getvalue(), media_type="text/csv; charset=utf-8", headers=headers)


def _unfolded(values) -> list[object]:
    """Text that a spreadsheet would take for a formula gets an apostrophe."""
    return [f"'{v}" if isinstance(v, str) and v[:1] in ("=", "+", "-", "@", "\t", "\r") else v for v in values]


def _sign_in(request: Request, token: str) -> Response:
    served = request.app.state.served
    if not hmac.compare_digest(token.encode(), served.researcher_token.encode()):
        return served.templates.TemplateResponse(request, "login.html", {"wrong": True}, 401)
    response = RedirectResponse("/researcher", 303)
    secure = request.url.scheme == "https"
    response.set_cookie(COOKIE, _pass(token), httponly=True, samesite="strict", secure=secure)
    return response


def _pass(token: str) -> str:
    """What the researcher's browser keeps: it opens the pages, but does not tell the token."""
    return hashlib.sha256(f"researcher/{token}".encode()).hexdigest()


def _refuse_others(request: Request) -> None:
    if not is_researcher(request):
        raise HTTPException(403, "Please sign in with the researcher's token first.")
