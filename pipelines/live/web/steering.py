"""A prompt, and its rounds of four."""

from collections.abc import Awaitable, Callable

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from pipelines.live.participant import Participant, checked_prompt
from pipelines.live.people.person import AnsweredAlreadyError
from pipelines.live.prompt_run import PromptRun
from pipelines.live.web.pages import ANSWERED_ELSEWHERE
from pipelines.live.web.visits import required, resources_of
from studies.web.forms import immutable_image, whole_number

_WAIT_S = 1.5
"""How long an answer waits for the next four, before the page shows them as they come."""


async def studio(request: Request) -> Response:
    """Where a prompt is typed, and what was kept is shown."""
    participant = await required(request)
    return await _studio_page(request, participant, "", "")


async def begin(request: Request) -> Response:
    """A new prompt."""
    participant = await required(request)
    form = await request.form()
    text, alone = str(form.get("prompt", "")), form.get("how") == "alone"
    resources = request.app.state.live.studio.resources
    try:
        if resources is None:
            participant.wish = (checked_prompt(text), alone)
            return RedirectResponse("/prompts/next", 303)
        run = await participant.begin(resources, text, alone=alone)
    except ValueError as error:
        return await _studio_page(request, participant, text, str(error), 400)
    return RedirectResponse(f"/prompts/{run.path.name}", 303)


async def next_prompt(request: Request) -> Response:
    """The prompt that was typed while the models were starting."""
    participant = await required(request)
    resources = resources_of(request, participant)
    if participant.wish is None:
        return RedirectResponse("/studio", 303)
    (text, alone), participant.wish = participant.wish, None
    run = await participant.begin(resources, text, alone=alone)
    return RedirectResponse(f"/prompts/{run.path.name}", 303)


async def prompt(request: Request) -> Response:
    """One prompt as it stands."""
    participant, run = await _run(request)
    return _prompt_page(request, participant, run)


async def choose(request: Request) -> Response:
    """This one, or others; the next four come back where they are there soon."""
    chosen = str((await request.form()).get("chosen", ""))

    async def choose(run: PromptRun, number: int) -> None:
        await run.steered.choose(number, None if chosen == "others" else chosen)
        await run.steered.settled(_WAIT_S)

    return await _answered(request, choose)


async def onward(request: Request) -> Response:
    """On from a picture that was there before: back, and more like this one."""
    picture = str((await request.form()).get("picture", ""))
    return await _answered(request, lambda run, number: run.steered.go_on_from(number, picture), redirect=True)


async def keep(request: Request) -> Response:
    """A picture is kept; tables and gallery follow."""
    picture = str((await request.form()).get("picture", ""))

    async def keep(run: PromptRun, number: int) -> None:
        await run.steered.keep(number, picture)
        await run.steered.settled(_WAIT_S)
        await run_in_threadpool(run.write_results)

    return await _answered(request, keep, redirect=True)


async def again(request: Request) -> Response:
    """Once more what has failed."""
    _, run = await _run(request)
    run.steered.begin()
    return RedirectResponse(f"/prompts/{run.path.name}", 303)


async def image(request: Request) -> Response:
    """An image of this prompt, as it was drawn."""
    _, run = await _run(request)
    png = await run_in_threadpool(run.image, request.path_params["key"])
    if png is None:
        raise HTTPException(404)
    return immutable_image(png)


async def _answered(
    request: Request, say: Callable[[PromptRun, int], Awaitable[None]], *, redirect: bool = False
) -> Response:
    """Take the answer of a form; then the page, or its address where a browser is to keep that."""
    participant, run = await _run(request)
    number = whole_number(await request.form(), "number")
    if number is None:
        raise HTTPException(400, "This answer was not taken. Reload the page.")
    try:
        await say(run, number)
    except AnsweredAlreadyError:
        return _prompt_page(request, participant, run, ANSWERED_ELSEWHERE)
    except ValueError as error:
        raise HTTPException(409, f"{error}.") from error
    if redirect:
        return RedirectResponse(f"/prompts/{run.path.name}", 303)
    return _prompt_page(request, participant, run)


async def _run(request: Request) -> tuple[Participant, PromptRun]:
    participant = await required(request)
    run = await participant.run_of(resources_of(request, participant), request.path_params["run"])
    if run is None:
        raise HTTPException(404)
    return participant, run


def _prompt_page(request: Request, participant: Participant, run: PromptRun, notice: str = "") -> Response:
    return request.app.state.live.pages.page(
        "prompt.html",
        {
            "run": run.path.name,
            "steered": run.steered,
            "four": [run.steered.card(key) for key in run.steered.four],
            "path": run.steered.path,
            "number": len(participant.person.answers),
            "version": participant.changes.version,
            "notice": notice,
        },
        409 if notice else 200,
    )


async def _studio_page(
    request: Request, participant: Participant, said: str, problem: str, status: int = 200
) -> Response:
    live = request.app.state.live
    if live.studio.resources is not None:
        await participant.open_runs(live.studio.resources)
    believed = await run_in_threadpool(participant.beliefs)
    return live.pages.page(
        "studio.html",
        {
            "name": participant.name,
            "suggestions": live.studio.suggestions,
            "said": said,
            "problem": problem,
            "warm": live.studio.resources is not None,
            "trouble": live.studio.problem,
            "beliefs": believed,
            "accuracy": await run_in_threadpool(participant.accuracy),
            "runs": participant.runs,
            "kept": len(participant.kept),
            "proof": participant.proof.stage,
            "version": participant.changes.version,
        },
        status,
    )


ROUTES = [
    Route("/studio", studio),
    Route("/prompts", begin, methods=["POST"]),
    Route("/prompts/next", next_prompt),
    Route("/prompts/{run}", prompt),
    Route("/prompts/{run}/choose", choose, methods=["POST"]),
    Route("/prompts/{run}/onward", onward, methods=["POST"]),
    Route("/prompts/{run}/keep", keep, methods=["POST"]),
    Route("/prompts/{run}/again", again, methods=["POST"]),
    Route("/prompts/{run}/{key}.png", image),
]
