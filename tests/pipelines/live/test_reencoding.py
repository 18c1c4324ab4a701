"""People whose pictures another predictor saw."""

import json
from pathlib import Path

from actors.scorers.pamela import taste_features_of
from pipelines.live.people.answers import ShownPicture, pictures_of
from pipelines.live.people.folder import PeopleFolder, PersonFolder
from pipelines.live.people.person import LivePerson
from pipelines.live.people.reencoding import reencode_pictures
from predictor.data.image_files import read_image
from predictor.predictor import PamelaPredictor
from tests.studies.conftest import picture


def somebody(folder: Path, checkpoint: Path) -> PersonFolder:
    """A person who has answered one question, about pictures that nobody has seen."""
    people = PeopleFolder(folder)
    person = people.add("Ada", checkpoint, "another")
    predictor = PamelaPredictor.from_pretrained(checkpoint)
    shown = []
    for grey in (60, 120, 180, 240):
        picture(grey, person.path / "images" / f"{grey}.png")
        image = read_image(person.path / "images" / f"{grey}.png")
        (seen,) = taste_features_of(predictor, predictor.encode([image], prompts=["something else"]))
        shown.append(ShownPicture(seen=seen, file=f"images/{grey}.png", prompt="a grey wall"))
    live = LivePerson(person, predictor.taste)
    live.say(0, "question", shown=shown, chosen=shown[2].seen.id, worst=shown[0].seen.id)
    live.close()
    people.close()
    return person


def test_their_answers_stand_and_their_pictures_are_seen_as_this_predictor_sees_them(
    checkpoint: Path, tmp_path: Path
) -> None:
    person = somebody(tmp_path, checkpoint)
    predictor = PamelaPredictor.from_pretrained(checkpoint)

    again = reencode_pictures(person, predictor, checkpoint=checkpoint, fingerprint="this one")

    live = LivePerson(again, predictor.taste)
    (answer,) = live.answers
    pictures = pictures_of(live.answers)
    assert pictures[str(answer.chosen)].file == "images/180.png"
    assert pictures[str(answer.worst)].file == "images/60.png"
    image = read_image(person.path / "images" / "180.png")
    (expected,) = taste_features_of(predictor, predictor.encode([image], prompts=["a grey wall"]))
    assert answer.chosen == expected.id
    about = json.loads((person.path / "person.json").read_text())
    assert (about["predictor"], about["key"]) == ("this one", person.key)
    live.close()
