"""What is believed and kept of a person, their link, and the end of all of it."""

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from pipelines.live.web.visits import required


async def you(request: Request) -> Response:
    """Their page."""
    participant = await required(request)
    live = request.app.state.live
    base = f"{request.url.scheme}://{request.url.netloc}"
    return live.pages.page(
        "you.html",
        {
            "name": participant.name,
            "beliefs": await run_in_threadpool(participant.beliefs),
            "accuracy": await run_in_threadpool(participant.accuracy),
            "answered": participant.person.taste.answered,
            "prompts": len(participant.run_names),
            "link": f"{base}/join/{participant.person.folder.key}",
            "folder": participant.person.folder.path,
        },
    )


async def delete(request: Request) -> Response:
    """Ask whether all is to be deleted, and do it."""
    participant = await required(request)
    live = request.app.state.live
    if request.method == "GET":
        return live.pages.page("delete.html", {"name": participant.name})
    await live.studio.forget(participant)
    response = live.pages.page("deleted.html", {})
    response.delete_cookie(live.visits.cookie)
    return response


async def leave(request: Request) -> Response:
    """Sign out on this device."""
    await required(request)
    response = RedirectResponse("/", 303)
    response.delete_cookie(request.app.state.live.visits.cookie)
    return response


ROUTES = [
    Route("/you", you),
    Route("/you/delete", delete, methods=["GET", "POST"]),
    Route("/you/leave", leave, methods=["POST"]),
]
