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
from studies.web.forms import immutable_image, pair_layout, whole_number
from studies.wording import message

_DAY_S = 24 * 3600
_WITHDRAWN = "withdrawn"
"""What is left of a session in the browser of somebody who has withdrawn: their device can tell, and nothing else."""
_PROLIFIC_ID = re.compile(r"[A-Za-z0-9]{1,64}")
_MOST_WORDS = 80
"""Characters of a demographic answer."""
_NUMBER = re.compile(r"[0-9]{1,3}(\.[0-9]{1,20})?")
_MOST_MS = 24 * 3600 * 1000

_JOINED = "joined"

_SIGNED_OUT = message("You are not signed in on this device; please open your link again.")
_NOT_AGREED = message("Please tick the box if you agree to take part; otherwise just close this page.")
_NOT_TAKEN = message("This answer was not taken. Please reload the page.")
_OTHER_DEVICE = message(
    "Answers can be withdrawn on the device where you began; or write to the people behind this study."
)
_NO_PROLIFIC_ID = message("PROLIFIC_PID must be 1 to 64 letters and digits; please start from Prolific again.")
_NOT_LET_IN = {
    "unknown": message("This invitation is not known; please copy the whole link."),
    "expired": message("This invitation has expired; please ask whoever sent it for a new one."),
    "withdrawn": message("You have withdrawn from this study, and nothing of you is kept. Thank you all the same."),
}

GENDERS = (message("woman"), message("man"), message("non-binary"))
EDUCATION = (
    message("no school certificate"),
    message("secondary school"),
    message("vocational training"),
    message("bachelor’s degree"),
    message("master’s degree"),
    message("doctorate"),
)
ART_EXPERIENCE = (message("none"), message("a hobby"), message("some training"), message("a profession"))


async def home(request: Request) -> Response:
    """The page of the stage at which the participant stands."""
    served = request.app.state.served
    if "PROLIFIC_PID" in request.query_params:
        return await _arrive_from_prolific(request)
    participant = await _who(request)
    if participant is None:
        return await _stranger(request)
    if request.url.query:
        return _onward()
    state = await run_in_threadpool(served.study_session.state, participant)
    return _stage_page(request, state)


async def join(request: Request) -> Response:
    """An invitation's link: begins a session on this device, and leaves the address bar without the secret."""
    study_session, token = request.app.state.served.study_session, request.path_params["token"]
    session = await run_in_threadpool(study_session.join, token)
    if session is None:
        why = await run_in_threadpool(study_session.invitation, token)
        raise HTTPException(403, _NOT_LET_IN[why])
    return _arrived(request, request.app.state.served.cookie, session, study_session.study.settings.session_days)


async def consent(request: Request) -> Response:
    """Consent was given; only now is anything kept of somebody who came from a recruiting platform."""
    served = request.app.state.served
    participant = await _who(request)
    arrival = request.cookies.get(served.arrival_cookie) if served.prolific else None
    if participant is None and not arrival:
        raise HTTPException(403, _SIGNED_OUT)
    form = await request.form()
    if form.get("agreed") != "yes":
        raise HTTPException(400, _NOT_AGREED)
    study_session = served.study_session
    if participant is not None and participant.consented:
        return _onward()
    if await run_in_threadpool(study_session.arrival, participant) != "consent":
        return _onward()
    if participant is not None:
        await run_in_threadpool(study_session.store.consent, participant.participant)
        return _onward()
    if arrival is None or _PROLIFIC_ID.fullmatch(arrival) is None:
        raise HTTPException(400, _NO_PROLIFIC_ID)
    session = await run_in_threadpool(study_session.store.join_from_prolific, arrival)
    if session is None:
        raise HTTPException(403, _NOT_LET_IN["withdrawn"])
    response = _onward()
    _keep(request, response, served.cookie, session, study_session.study.settings.session_days)
    response.delete_cookie(served.arrival_cookie)
    return response


async def about(request: Request) -> Response:
    """Demographics, each of which may be declined."""
    participant = await _participant(request, consented=True)
    said = _demographics(await request.form())
    await run_in_threadpool(
        request.app.state.served.study_session.store.record_demographics, participant.participant, said
    )
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
    position = whole_number(form, "position")
    if position is None:
        raise HTTPException(400, _NOT_TAKEN)
    response_ms = whole_number(form, "response_ms")
    response_ms = None if response_ms is None or response_ms > _MOST_MS else response_ms
    try:
        if study_session.study.settings.kind == "pairs":
            winner, layout = str(form.get("winner", "")), pair_layout(form)
            await run_in_threadpool(study_session.vote, participant.participant, position, winner, response_ms, layout)
        else:
            await run_in_threadpool(study_session.rate, participant.participant, position, _rating(form), response_ms)
    except ValueError as error:
        raise HTTPException(409, _NOT_TAKEN) from error
    return _onward()


async def undo(request: Request) -> Response:
    """Take the last answer back, for a few seconds after it was given."""
    participant = await _participant(request, consented=True)
    position = whole_number(await request.form(), "undo")
    study_session = request.app.state.served.study_session
    if position is None or not await run_in_threadpool(study_session.undo, participant.participant, position):
        raise HTTPException(409, message("It is too late to undo this answer. Please go on with the study."))
    return _onward()


async def withdraw(request: Request) -> Response:
    """Asks whether all answers are to be deleted, and does it."""
    served = request.app.state.served
    participant = await _participant(request)
    if not participant.may_withdraw:
        raise HTTPException(403, _OTHER_DEVICE)
    if request.method == "GET":
        return _page(request, "withdraw.html", {})
    await run_in_threadpool(served.study_session.store.withdraw, participant.participant)
    page = _page(request, "withdrawn.html", {})
    _keep(request, page, served.cookie, _WITHDRAWN, 1)
    return page


async def asset(request: Request) -> Response:
    """An image, to whoever has a session; its headers are the same for every image of a prompt."""
    from studies.web.researcher import is_researcher

    study_session = request.app.state.served.study_session
    study, name, width = study_session.study, request.path_params["name"], request.path_params.get("width")
    allowed = is_researcher(request)
    if not allowed and not study_session.unreviewed and name not in study_session.rejected:
        allowed = await _who(request) is not None
    if not allowed or name not in study.items or (width is not None and width not in study.settings.widths):
        raise HTTPException(404)
    file = study.asset(name) if width is None else study.screen(name, width)
    try:
        content = await run_in_threadpool(file.read_bytes)
    except FileNotFoundError as error:
        raise HTTPException(404) from error
    kind = "image/png" if width is None else "image/webp"
    return immutable_image(content, kind)


async def _arrive_from_prolific(request: Request) -> Response:
    """The id waits in the visitor's own browser until they agree to take part."""
    served = request.app.state.served
    name = request.query_params["PROLIFIC_PID"]
    if not served.prolific:
        raise HTTPException(403, message("This study is open by invitation only."))
    if _PROLIFIC_ID.fullmatch(name) is None:
        raise HTTPException(400, _NO_PROLIFIC_ID)
    study_session = served.study_session
    session = await run_in_threadpool(study_session.store.rejoin_from_prolific, name)
    if session is not None:
        return _arrived(request, served.cookie, session, study_session.study.settings.session_days)
    if await run_in_threadpool(study_session.store.withdrew_from_prolific, name):
        raise HTTPException(403, _NOT_LET_IN["withdrawn"])
    return _arrived(request, served.arrival_cookie, name, 1)


async def _stranger(request: Request) -> Response:
    """Somebody without a session: what to do about it depends on how they came."""
    served = request.app.state.served
    known = request.cookies.get(served.cookie)
    arrival = request.cookies.get(served.arrival_cookie)
    if arrival and served.prolific:
        if request.url.query:
            return _onward()
        stage = await run_in_threadpool(served.study_session.arrival)
        return _stage_page(request, ParticipantState(stage=stage))
    if known == _WITHDRAWN:
        return _page(request, "withdrawn.html", {})
    if request.url.query == _JOINED:
        return _page(request, "no_cookies.html", {}, 403)
    return _page(request, "invitation.html", {"signed_out": bool(known)})


async def _who(request: Request) -> Participant | None:
    session = request.cookies.get(request.app.state.served.cookie)
    if not session:
        return None
    return await run_in_threadpool(request.app.state.served.study_session.participant, session)


async def _participant(request: Request, *, consented: bool = False) -> Participant:
    participant = await _who(request)
    if participant is None:
        raise HTTPException(403, _SIGNED_OUT)
    if consented and not participant.consented:
        raise HTTPException(409, message("Please read and agree to the first page before."))
    return participant


def _stage_page(request: Request, state: ParticipantState) -> Response:
    question = state.question
    if question is None:
        return _page(request, f"{state.stage}.html", {"state": state, "undo": state.undo, **_choices()})
    settings = request.app.state.served.study_session.study.settings
    name = "pair.html" if settings.kind == "pairs" else "rating.html"
    return _page(request, name, {"question": question, "trial": question.trial, "undo": state.undo})


def _choices() -> dict[str, Any]:
    return {"genders": GENDERS, "education": EDUCATION, "art_experience": ART_EXPERIENCE}


def _page(request: Request, name: str, context: dict[str, Any], status: int = 200) -> Response:
    return request.app.state.served.rendering.page(request.scope, name, context, status)


def _arrived(request: Request, cookie: str, value: str, days: int) -> Response:
    """On to the study by way of an address that tells whether the browser has kept the cookie."""
    response = RedirectResponse(f"/?{_JOINED}", 303)
    _keep(request, response, cookie, value, days)
    return response


def _keep(request: Request, response: Response, cookie: str, value: str, days: int) -> None:
    secure = request.url.scheme == "https"
    response.set_cookie(cookie, value, max_age=days * _DAY_S, httponly=True, samesite="lax", secure=secure)


def _onward() -> Response:
    return RedirectResponse("/", 303)


def _demographics(form: FormData) -> dict[str, str]:
    """What was told; an answer that is none of the choices, or out of range, was not given."""
    said: dict[str, str] = {}
    age = whole_number(form, "age")
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


def _rating(form: FormData) -> float:
    text = str(form.get("rating", ""))
    if not _NUMBER.fullmatch(text):
        raise ValueError("the slider was not moved")
    return float(text)
