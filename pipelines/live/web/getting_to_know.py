"""Four pictures at a time: which do you like best?"""

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from pipelines.live.participant import Participant
from pipelines.live.people.person import AnsweredAlreadyError
from pipelines.live.web.pages import ANSWERED_ELSEWHERE
from pipelines.live.web.visits import required
from studies.web.forms import immutable_image, whole_number


async def know(request: Request) -> Response:
    """The question that is due."""
    participant = await required(request)
    return await _question(request, participant)


async def answer(request: Request) -> Response:
    """An answer; the next question comes back once it is on the disk."""
    participant = await required(request)
    form = await request.form()
    number, best, worst = whole_number(form, "number"), str(form.get("best", "")), str(form.get("worst", ""))
    if number is None:
        raise HTTPException(400, "This answer was not taken. Reload the page.")
    chosen = best if best not in ("", "none", "skip") else None
    try:
        await run_in_threadpool(participant.answer, number, chosen, worst or None, skipped=best == "skip")
    except AnsweredAlreadyError:
        return await _question(request, participant, ANSWERED_ELSEWHERE)
    except ValueError as error:
        raise HTTPException(409, str(error)) from error
    return await _question(request, participant)


async def stop(request: Request) -> Response:
    """They have had enough questions."""
    participant = await required(request)
    await run_in_threadpool(participant.stop_asking)
    return RedirectResponse("/studio", 303)


async def picture(request: Request) -> Response:
    """A picture of the catalogue; it is the same for everybody."""
    await required(request)
    pictures = request.app.state.live.studio.pictures
    name = request.path_params["name"]
    if name not in pictures.ids:
        raise HTTPException(404)
    return immutable_image(await run_in_threadpool(pictures.file(name).read_bytes))


async def _question(request: Request, participant: Participant, notice: str = "") -> Response:
    question = await run_in_threadpool(participant.question)
    if question is None:
        return RedirectResponse("/studio", 303)
    page = {"question": question, "name": participant.name, "notice": notice}
    return request.app.state.live.pages.page("know.html", page, 409 if notice else 200)


ROUTES = [
    Route("/know", know),
    Route("/know/answer", answer, methods=["POST"]),
    Route("/know/stop", stop, methods=["POST"]),
    Route("/know/{name}.png", picture),
]
