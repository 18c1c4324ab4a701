"""Nothing that a participant's browser receives tells a condition."""

import io
import re
from pathlib import Path

from PIL import Image
from starlette.testclient import TestClient

from studies.simulation.participants import Page
from studies.study import Study
from tests.studies.conftest import GREYS
from tests.studies.web.conftest import Serve, Site, answer

ASSET = re.compile(r"/assets/([0-9a-f]{32})\.png")


def everything(site: Site, client: TestClient) -> tuple[str, dict[str, list[tuple[str, str]]]]:
    """Take the study to its end; all text that came, and the headers of each image."""
    text, headers = "", {}
    page = client.get("/")
    while True:
        text += page.text + repr(sorted(page.headers.items()))
        for name in ASSET.findall(page.text):
            if name not in headers:
                headers[name] = sorted(client.get(f"/assets/{name}.png").headers.items())
        action = Page(page.text).action
        if action == "/answer":
            said = {**Page(page.text).fields, "winner": "left", "response_ms": "900"}
            page = client.post("/answer", data=said)
        elif action == "/continue":
            page = client.post("/continue")
        else:
            return text, headers


def test_pages_and_headers_hold_no_condition_user_key_path_trial_or_block(pair_study: Study, serve: Serve) -> None:
    site = serve(pair_study)
    text, _ = everything(site, site.begun("u1"))
    keys = {item.image for item in pair_study.items.values()}
    secrets = {
        *GREYS,
        *keys,
        *pair_study.trials,
        *pair_study.settings.sources,
        str(pair_study.folder),
        "hpsv3",
        "steered",
    }
    assert [secret for secret in secrets if secret in text] == []
    told = re.sub(r"<[^>]*>|[\w-]+: initial", " ", text)
    assert [word for word in ("own", "other", "condition", "generic") if re.search(rf"\b{word}\b", told)] == []


def test_images_of_all_conditions_come_with_the_same_headers_and_length(pair_study: Study, serve: Serve) -> None:
    site = serve(pair_study)
    _, headers = everything(site, site.begun("u1"))
    conditions = {pair_study.items[name].condition for name in headers}
    assert {"initial", "steered", "hpsv3"} <= conditions
    compared = {name: found for name, found in headers.items() if pair_study.items[name].condition != "practice"}
    by_prompt = {(pair_study.items[name].prompt_id, tuple(found)) for name, found in compared.items()}
    assert len(by_prompt) == len({prompt for prompt, _ in by_prompt}) == 2
    kinds = {tuple((k, v) for k, v in found if k != "content-length") for found in headers.values()}
    assert len(kinds) == 1
    assert not {"etag", "last-modified", "content-disposition", "server"} & {name for name, _ in next(iter(kinds))}


def test_images_are_of_one_size_and_hold_nothing_but_pixels(pair_study: Study, serve: Serve) -> None:
    site = serve(pair_study)
    client = site.begun("u1")
    _, headers = everything(site, client)
    sizes = set()
    for name in headers:
        content = client.get(f"/assets/{name}.png").content
        chunks = re.findall(rb"(tEXt|zTXt|iTXt|eXIf|tIME|iCCP|pHYs)", content)
        with Image.open(io.BytesIO(content)) as image:
            sizes.add(image.size)
            assert image.info == {}
        assert chunks == []
    assert len(sizes) == 1


def test_names_and_the_folders_order_tell_nothing(pair_study: Study) -> None:
    """Sorted by name, creation order or time, assets of one condition lie anywhere."""
    names = [path.stem for path in sorted(Path(pair_study.folder / "assets").iterdir())]
    order = [pair_study.items[name].condition for name in names]
    assert set(names) == set(pair_study.items)
    assert order != sorted(order)
    assert all(re.fullmatch(r"[0-9a-f]{32}", name) for name in names)


def test_left_tells_nothing_over_all_voters(pair_study: Study) -> None:
    left = [pair_study.items[t.left or ""].condition_for(t.user) for t in pair_study.of_kind("trial")]
    right = [pair_study.items[t.right or ""].condition_for(t.user) for t in pair_study.of_kind("trial")]
    for condition in ("own", "other", "initial", "hpsv3"):
        assert abs(left.count(condition) - right.count(condition)) <= len(pair_study.users) * 3


def test_the_answer_page_does_not_say_whether_a_check_or_repeat_was_passed(pair_study: Study, serve: Serve) -> None:
    site = serve(pair_study)
    client = site.begun("u1")
    said = set()
    for _ in range(20):
        page = client.get("/")
        if Page(page.text).action != "/answer":
            break
        following = answer(client, winner="right")
        said |= set(re.findall(r"\b(?:correct|wrong|passed|failed|repeat(?:ed)?)\b", following.words))
    assert said == set()


def test_files_for_screens_tell_as_little_as_the_whole_images(pair_study: Study, serve: Serve) -> None:
    client = serve(pair_study).begun("u1")
    lengths: dict[tuple[str, int], set[tuple]] = {}
    for name, item in pair_study.items.items():
        for width in pair_study.settings.widths:
            response = client.get(f"/assets/{name}-{width}.webp")
            group = (f"{item.condition == 'practice'}/{item.prompt_id}", width)
            lengths.setdefault(group, set()).add(tuple(sorted(response.headers.items())))
            assert response.headers["content-type"] == "image/webp"
            assert re.findall(rb"EXIF|XMP |ICCP", response.content) == []
            with Image.open(io.BytesIO(response.content)) as image:
                assert image.info.keys() <= {"loop", "background", "timestamp", "duration"}
                assert image.width <= width
    assert all(len(headers) == 1 for headers in lengths.values())
    assert client.get(f"/assets/{next(iter(pair_study.items))}-77.webp").status_code == 404
