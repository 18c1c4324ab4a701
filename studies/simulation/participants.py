"""Raters with a known taste take a study as people would: by their invitation, page by page, over HTTP.

They see what a participant's browser sees and nothing else: they fetch the images that a page shows, measure them, and
answer by their true liking and the noise of one look. So an analysis of their answers is checked against a truth,
through the whole chain.
"""

import hashlib
import io
import re
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from html.parser import HTMLParser

import httpx2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from predictor.simulation.attributes import measure
from predictor.simulation.raters import RATING_MAX, Rater, rate

REQUEST_TIMEOUT_S = 60.0
MOST_PAGES = 100_000
TIE_WITHIN = 0.02
"""Two looks closer than this (in units of liking, 0 to 1) are a tie, where a study has ties."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedParticipant:
    """A simulated participant with the link that invites them."""

    rater: Rater
    link: str


class Page(HTMLParser):
    """What a participant can see, and do to go on: a page's words, images and form; nothing here takes answers back."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.images: list[str] = []
        self.action: str | None = None
        self.fields: dict[str, str] = {}
        self.words = ""
        self._quiet = 0
        self._aside = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        if tag == "form":
            self._aside = told.get("action") == "/undo"
            self.action = self.action if self._aside else told.get("action")
        elif tag == "img":
            self.images.append(told.get("src") or "")
        elif tag == "input" and told.get("type") == "hidden" and not self._aside:
            self.fields[told.get("name") or ""] = told.get("value") or ""
        elif tag in ("script", "style"):
            self._quiet += 1

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._quiet -= 1

    def handle_data(self, data: str) -> None:
        if not self._quiet:
            self.words += f" {data.strip()}"


def take_study(
    participants: Sequence[SimulatedParticipant],
    *,
    seed: int,
    at_once: int = 4,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> int:
    """Let every participant take the study to its end; returns how many answers they gave.

    Raises
    ------
    RuntimeError
        The server refused something that a participant may do.
    """
    answers = done = 0
    measured: dict[bytes, NDArray[np.float64]] = {}
    ssl_context = httpx2.create_ssl_context()  # one for all: it reads certificates for longer than a page takes
    with ThreadPoolExecutor(at_once) as pool:
        for given in pool.map(
            lambda pair: _attend(pair[1], seed, pair[0], measured, ssl_context), enumerate(participants)
        ):
            answers += given
            done += 1
            progress("simulated participants", done, len(participants))
    return answers


def _attend(
    participant: SimulatedParticipant,
    seed: int,
    number: int,
    measured: dict[bytes, NDArray[np.float64]],
    ssl_context: ssl.SSLContext,
) -> int:
    """Take the study as one participant. `measured`: attributes by the SHA-256 of an image's file, for all of them."""
    rng = np.random.default_rng([seed, number, 0x57D1])
    looked_at: dict[str, NDArray[np.float64]] = {}
    answers = 0
    with httpx2.Client(follow_redirects=True, timeout=REQUEST_TIMEOUT_S, verify=ssl_context) as client:
        base = str(client.base_url.join(participant.link)).split("/join/")[0]
        page = Page(_get(client, participant.link).text)
        for _ in range(MOST_PAGES):
            if page.action is None:
                return answers
            if page.action == "/answer":
                seen = _look_at([base + image for image in page.images], client, looked_at, measured)
                said = _answer(page, seen, participant.rater, rng)
                answers += 1
            else:
                said = _agree(page.action, participant.rater)
            page = Page(_post(client, base + page.action, said).text)
    raise RuntimeError(f"{participant.rater.user_id}: the study does not come to an end after {MOST_PAGES} pages")


def _agree(action: str, rater: Rater) -> dict[str, str]:
    if action == "/consent":
        return {"agreed": "yes"}
    gender = {"female": "woman", "male": "man"}.get(rater.gender, rater.gender)
    return {"age": str(rater.age), "gender": gender, "nationality": rater.nationality} if action == "/about" else {}


def _look_at(
    urls: Sequence[str],
    client: httpx2.Client,
    looked_at: dict[str, NDArray[np.float64]],
    measured: dict[bytes, NDArray[np.float64]],
) -> NDArray[np.float64]:
    """Attributes of a page's images, shape (images, attributes). Each is fetched once, and measured once for all."""
    for url in urls:
        if url not in looked_at:
            content = _get(client, url).content
            picture = hashlib.sha256(content).digest()
            if picture not in measured:
                with Image.open(io.BytesIO(content)) as opened:
                    measured[picture] = measure(opened)
            looked_at[url] = measured[picture]
    return np.stack([looked_at[url] for url in urls])


def _answer(page: Page, seen: NDArray[np.float64], rater: Rater, rng: np.random.Generator) -> dict[str, str]:
    """What a rater answers who has `seen` the page's images, shape (images, attributes)."""
    told = re.search(
        r"Attention check: please (?:choose the\s+(left|right)|move the slider to “(bad|excellent))", page.words
    )
    if len(page.images) == 1:
        rating = float(rate(rater, seen, rng)[0])
        rating = {"bad": 0.0, "excellent": RATING_MAX}.get((told and told[2]) or "", rating)
        return {**page.fields, "rating": f"{rating:.1f}", "response_ms": _pace(rng)}
    liking = rater.utility(seen) + rng.normal(0, rater.noise / RATING_MAX, 2)
    winner = (told and told[1]) or ("left" if liking[0] > liking[1] else "right")
    if not told and "No preference" in page.words and abs(liking[0] - liking[1]) < TIE_WITHIN:
        winner = "tie"
    return {**page.fields, "winner": winner, "response_ms": _pace(rng)}


def _pace(rng: np.random.Generator) -> str:
    """Milliseconds that a person might take: log-normal around three seconds."""
    return str(int(rng.lognormal(np.log(3000), 0.4)))


def _get(client: httpx2.Client, url: str) -> httpx2.Response:
    return _patiently(lambda: client.get(url))


def _post(client: httpx2.Client, url: str, said: Mapping[str, str]) -> httpx2.Response:
    return _patiently(lambda: client.post(url, data=dict(said)))


def _patiently(request: Callable[[], httpx2.Response]) -> httpx2.Response:
    """Ask again after a pause where the server says that it was asked too fast."""
    while True:
        response = request()
        if response.status_code == 429:
            time.sleep(float(response.headers.get("Retry-After", "1")))
            continue
        if response.is_error:
            raise RuntimeError(f"{response.url}: {response.status_code}: {Page(response.text).words.strip()[:200]}")
        return response
