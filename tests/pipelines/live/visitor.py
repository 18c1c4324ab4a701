"""Somebody who uses steer-live by HTTP, without a browser: fills in the forms that are on its pages."""

import re
import time
from collections.abc import Callable
from html import unescape
from urllib.parse import urlencode

import httpx2

Liking = Callable[[bytes], float]
"""How much somebody likes a picture, given as PNG."""

_FORM = re.compile(r'<form[^>]*action="(?P<action>[^"]+)"[^>]*>(?P<body>.*?)</form>', re.DOTALL)
_PICTURE = re.compile(r'<button class="picture" name="(\w+)" value="(\w+)".*?<img src="([^"]+)"', re.DOTALL)
_HIDDEN = re.compile(r'<input type="hidden" name="(\w+)" value="([^"]*)"')
WAIT_S = 600.0
"""Of which a machine that has other work needs some."""


class Visitor:
    """One browser: its cookies, and the page that it shows."""

    def __init__(self, link: str) -> None:
        self.http = httpx2.Client(
            base_url=link.split("/join/")[0],
            follow_redirects=True,
            timeout=WAIT_S,
            verify=False,  # by HTTP alone: reading the certificates takes longer than most visits
            headers={"Sec-Fetch-Site": "same-origin"},
        )
        self.page = self.http.get(link).text
        self.path = "/"
        self.fetched = 0

    def open(self, path: str) -> str:
        answer = self.http.get(path)
        self.page, self.path = answer.text, answer.url.path
        return self.page

    def post(self, path: str, **fields: str) -> str:
        content = urlencode(fields)
        answer = self.http.post(path, content=content, headers={"Content-Type": "application/x-www-form-urlencoded"})
        self.page, self.path = answer.text, answer.url.path
        return self.page

    def wait_for(self, words: str, path: str | None = None) -> str:
        """Look again until the page has these words."""
        deadline = time.monotonic() + WAIT_S
        while words not in self.page:
            late = time.monotonic() > deadline or "The models did not start" in self.page
            assert not late, f"{words!r} did not come; the page says {self.words()}"
            time.sleep(0.1)
            self.open(path or self.path)
        return self.page

    def words(self) -> str:
        """What the page says, without markup."""
        main = self.page.partition("<main")[2] or self.page
        return " ".join(unescape(re.sub(r"<[^>]+>", " ", main)).split())[:600]

    def hidden(self) -> dict[str, str]:
        """The hidden fields of the form with pictures."""
        for form in _FORM.finditer(self.page):
            if 'class="picture"' in form["body"]:
                return dict(_HIDDEN.findall(form["body"]))
        raise AssertionError(f"no pictures to choose from: {self.words()}")

    def pictures(self) -> list[tuple[str, str, bytes]]:
        """Name and value of each picture's button, and the picture."""
        found = _PICTURE.findall(self.page)
        return [(name, value, self.http.get(address).content) for name, value, address in found]

    def wait_for_pictures(self) -> list[tuple[str, str, bytes]]:
        """The four that stand for choice, once they do."""
        self.wait_for("Which do you like best?")
        return self.pictures()

    def begin(self, name: str) -> None:
        self.wait_for("What shall we call you?", "/")
        self.post("/begin", name=name)

    def answer_questions(self, liking: Liking, count: int) -> list[float]:
        """Answer so many questions by liking; seconds from each answer to the next page."""
        took = []
        for _ in range(count):
            if 'action="/know/answer"' not in self.page:
                break
            (name, value, _png) = max(self.pictures(), key=lambda each: liking(each[2]))
            fields = self.hidden() | {name: value}
            began = time.perf_counter()
            self.post("/know/answer", **fields)
            took.append(time.perf_counter() - began)
        return took

    def steer(self, prompt: str, liking: Liking, rounds: int, look_s: float = 0.0) -> tuple[bytes, list[float]]:
        """Steer a prompt by liking, and keep the favourite: the picture, and seconds to each four."""
        began = time.perf_counter()
        self.post("/prompts", prompt=prompt)
        took = []
        for number in range(rounds + 1):
            self.wait_for("Which do you like best?")
            took.append(time.perf_counter() - began)
            best = max(self.pictures(), key=lambda each: liking(each[2]))
            if number == rounds:
                self.post(f"{self.path}/keep", number=self.hidden()["number"], picture=best[1])
                self.wait_for("Kept.")
                return best[2], took
            time.sleep(look_s)
            run, fields = self.path.split("/")[2], self.hidden()
            began = time.perf_counter()
            self.post(f"/prompts/{run}/choose", **fields, chosen=best[1])
            self.path = f"/prompts/{run}"
        raise AssertionError("a number of rounds is not negative")

    def prove(self, liking: Liking) -> str:
        """Vote on all pairs by liking; the verdict's page."""
        self.post("/proof/prepare")
        while "Which picture do you prefer?" not in self.page and "95% interval" not in self.page:
            assert "could not be prepared" not in self.page, self.words()
            time.sleep(0.2)
            self.open("/proof")
        while "Which picture do you prefer?" in self.page:
            (name, value, _) = max(self.pictures(), key=lambda each: liking(each[2]))
            self.post("/proof/vote", **{**self.hidden(), name: value})
        return self.words()
