"""Blind pairs, and what the votes say. Nothing here reads a condition before the last vote is given."""

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from pipelines.live.participant import Participant
from pipelines.live.web.pages import ANSWERED_ELSEWHERE
from pipelines.live.web.visits import required, resources_of
from studies.web.forms import immutable_image, pair_layout, whole_number


async def proof(request: Request) -> Response:
    """The pair that is due; before it a word about what comes, and after it the result."""
    return await _proof_page(request, await required(request))


async def prepare(request: Request) -> Response:
    """Make the pairs of what is kept."""
    participant = await required(request)
    try:
        await participant.prove(resources_of(request, participant))
    except ValueError as error:
        raise HTTPException(409, str(error)) from error
    return RedirectResponse("/proof", 303)


async def vote(request: Request) -> Response:
    """One vote; answered after it is on the disk."""
    participant = await required(request)
    form = await request.form()
    position, winner = whole_number(form, "position"), str(form.get("winner", ""))
    if position is None or participant.proof.stage not in ("pairs", "done"):
        raise HTTPException(409, "This answer was not taken. Reload the page.")
    try:
        stands = await run_in_threadpool(
            participant.proof.vote,
            position,
            winner,
            whole_number(form, "response_ms"),
            pair_layout(form),
        )
    except ValueError as error:
        raise HTTPException(409, "This answer was not taken. Reload the page.") from error
    if stands != winner:
        return await _proof_page(request, participant, ANSWERED_ELSEWHERE)
    return RedirectResponse("/proof", 303)


async def asset(request: Request) -> Response:
    """A picture of the comparison, by a name that tells nothing."""
    participant = await required(request)
    png = await run_in_threadpool(participant.proof.asset, request.path_params["name"])
    if png is None:
        raise HTTPException(404)
    return immutable_image(png)


async def _proof_page(request: Request, participant: Participant, notice: str = "") -> Response:
    live, made = request.app.state.live, participant.proof
    stage = await run_in_threadpool(lambda: made.stage)
    status = 409 if notice else 200
    if stage == "pairs":
        question = await run_in_threadpool(made.question)
        if question is not None:
            return live.pages.page("pair.html", {"question": question, "notice": notice}, status)
    if stage == "done":
        page = {"result": await run_in_threadpool(made.result), "notice": notice}
        return live.pages.page("verdict.html", page, status)
    if stage == "none":
        await participant.resume_proof(resources_of(request, participant))
    page = {
        "stage": made.stage,
        "kept": len(participant.kept),
        "problem": made.problem,
        "version": participant.changes.version,
    }
    return live.pages.page("proof.html", page)


ROUTES = [
    Route("/proof", proof),
    Route("/proof/prepare", prepare, methods=["POST"]),
    Route("/proof/vote", vote, methods=["POST"]),
    Route("/proof/{name}.png", asset),
]
