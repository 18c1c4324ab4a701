"""What participants see and send. Nothing here reads a condition, and no page holds more than the trial at hand."""

import re
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from studies.session import ParticipantState
from studies.store.store import Participant
from studies.study import ANCHORS

_MONTH_S = 30 * 24 * 3600
_PROLIFIC_ID = re.compile(r"[A-Za-z0-9]{1,64}")
_MOST_WORDS = 80
"""Characters of a demographic answer."""
_NUMBER = re.compile(r"[0-9]{1,3}(\.[0-9]{1,20})?")
_LAYOUTS = ("side", "stacked")
_MOST_MS = 24 * 3600 * 1000

GENDERS = ("woman", "man", "non-binary")
EDUCATION = (
    "no school certificate",
    "secondary school",
    "vocational training",
    "bachelor’s degree",
    "master’s degree",
    "doctorate",
)
ART_EXPERIENCE = ("none", "a hobby", "some training", "a profession")


async def home(request: Request) -> Response:
    """The page of the stage at which the participant stands."""
    served = request.app.state.served
    if "PROLIFIC_PID" in request.query_params:
        return await _join_from_prolific(request)
    participant = await _who(request)
    if participant is None:
        return _page(request, "invitation.html", {})
    state = await run_in_threadpool(served.study_session.state, participant)
    return _stage_page(request, state)


async def join(request: Request) -> Response:
    """An invitation's link: begins a session on this device, and leaves the address bar without the secret."""
    session = await run_in_threadpool(request.app.state.served.study_session.store.join, request.path_params["token"])
    if session is None:
        raise HTTPException(403, "This invitation is not known; please copy the whole link.")
    return _with_session(request, session)


async def consent(request: Request) -> Response:
    """Consent was given."""
    participant = await _participant(request)
    form = await request.form()
    if form.get("agreed") != "yes":
        raise HTTPException(400, "Please tick the box if you agree to take part; otherwise just close this page.")
    await run_in_threadpool(request.app.state.served.study_session.store.consent, participant.participant)
    return _onward()


async def about(request: Request) -> Response:
    """Demographics, each of which may be declined."""
    participant = await _participant(request, consented=True)
    said = _demographics(await request.form())
    await run_in_threadpool(request.app.state.served.study_session.store.describe, participant.participant, said)
    return _onward()


async def go_on(request: Request) -> Response:
    """The next block, after a break."""
    participant = await _participant(request, consented=True)
    await run_in_threadpool(request.app.state.served.study_session.next_block, participant)
    return _onward()


async def answer(request: Request) -> Response:
    """One vote or rating; answered only after it is on the disk."""
    participant = await _participant(request, consented=True)
    form = await request.form()
    study_session = request.app.state.served.study_session
    position = _whole(form, "position")
    if position is None:
        raise HTTPException(400, "This answer does not say which trial it is for; please reload the page.")
    response_ms = _whole(form, "response_ms")
    response_ms = None if response_ms is None or response_ms > _MOST_MS else response_ms
    try:
        if study_session.study.settings.kind == "pairs":
            winner, layout = str(form.get("winner", "")), str(form.get("layout", ""))
            layout = layout if layout in _LAYOUTS else None
            await run_in_threadpool(study_session.vote, participant.participant, position, winner, response_ms, layout)
        else:
            await run_in_threadpool(study_session.rate, participant.participant, position, _rating(form), response_ms)
    except ValueError as error:
        raise HTTPException(409, f"This answer could not be taken: {error}. Please reload the page.") from error
    return _onward()


async def withdraw(request: Request) -> Response:
    """Asks whether all answers are to be deleted, and does it."""
    participant = await _participant(request)
    if not participant.may_withdraw:
        raise HTTPException(
            403, "Answers can be withdrawn on the device where you began; or write to the people behind this study."
        )
    if request.method == "GET":
        return _page(request, "withdraw.html", {})
    await run_in_threadpool(request.app.state.served.study_session.store.withdraw, participant.participant)
    page = _page(request, "withdrawn.html", {})
    page.delete_cookie(request.app.state.served.cookie)
    return page


async def asset(request: Request) -> Response:
    """An image, to whoever has a session; its headers are the same for every image of a prompt."""
    from studies.web.researcher import is_researcher

    study_session = request.app.state.served.study_session
    name = request.path_params["name"]
    allowed = is_researcher(request)
    if not allowed and not study_session.unreviewed and name not in study_session.rejected:
        allowed = await _who(request) is not None
    if not allowed or name not in study_session.study.items:
        raise HTTPException(404)
    try:
        content = await run_in_threadpool(study_session.study.asset(name).read_bytes)
    except FileNotFoundError as error:
        raise HTTPException(404) from error
    return Response(content, media_type="image/png", headers={"Cache-Control": "private, max-age=86400, immutable"})


async def _join_from_prolific(request: Request) -> Response:
    served = request.app.state.served
    name = request.query_params["PROLIFIC_PID"]
    if not served.prolific:
        raise HTTPException(403, "This study is open by invitation only.")
    if _PROLIFIC_ID.fullmatch(name) is None:
        raise HTTPException(400, "PROLIFIC_PID must be 1 to 64 letters and digits; please start from Prolific again.")
    session = await run_in_threadpool(served.study_session.store.join_from_prolific, name)
    if session is None:
        raise HTTPException(403, "You have withdrawn from this study. Thank you all the same.")
    return _with_session(request, session)


async def _who(request: Request) -> Participant | None:
    session = request.cookies.get(request.app.state.served.cookie)
    if not session:
        return None
    return await run_in_threadpool(request.app.state.served.study_session.store.participant, session)


async def _participant(request: Request, *, consented: bool = False) -> Participant:
    participant = await _who(request)
    if participant is None:
        raise HTTPException(403, "You are not signed in on this device; please open your invitation's link again.")
    if consented and not participant.consented:
        raise HTTPException(409, "Please read and agree to the first page before.")
    return participant


def _stage_page(request: Request, state: ParticipantState) -> Response:
    question = state.question
    if question is None:
        return _page(request, f"{state.stage}.html", {"state": state, **_choices()})
    settings = request.app.state.served.study_session.study.settings
    name = "pair.html" if settings.kind == "pairs" else "rating.html"
    return _page(request, name, {"question": question, "trial": question.trial, "anchors": ANCHORS})


def _choices() -> dict[str, Any]:
    return {"genders": GENDERS, "education": EDUCATION, "art_experience": ART_EXPERIENCE}


def _page(request: Request, name: str, context: dict[str, Any]) -> Response:
    return request.app.state.served.templates.TemplateResponse(request, name, context)


def _with_session(request: Request, session: str) -> Response:
    response = _onward()
    secure = request.url.scheme == "https"
    cookie = request.app.state.served.cookie
    response.set_cookie(cookie, session, max_age=_MONTH_S, httponly=True, samesite="lax", secure=secure)
    return response


def _onward() -> Response:
    return RedirectResponse("/", 303)


def _demographics(form: FormData) -> dict[str, str]:
    """What was told; an answer that is none of the choices, or out of range, was not given."""
    said: dict[str, str] = {}
    age = _whole(form, "age")
    if age is not None and 18 <= age <= 120:
        said["age"] = str(age)
    for name, choices in (("gender", GENDERS), ("education", EDUCATION), ("art_experience", ART_EXPERIENCE)):
        chosen = str(form.get(name, ""))
        if chosen in choices:
            said[name] = chosen
    for name, field in (("gender", "gender_other"), ("nationality", "nationality")):
        words = " ".join(str(form.get(field, "")).split())[:_MOST_WORDS]
        if words and name not in said:
            said[name] = words
    return said


def _whole(form: FormData, name: str) -> int | None:
    text = str(form.get(name, ""))
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else None


def _rating(form: FormData) -> float:
    text = str(form.get("rating", ""))
    if not _NUMBER.fullmatch(text):
        raise ValueError("the slider was not moved")
    return float(text)
