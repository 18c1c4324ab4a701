"""What a run's last lines say of how well its people are known."""

from pipelines.reporting.certainty import CertaintyOfRun
from predictor.people.certainty import Certainty


def known(error: float, answers: int) -> Certainty:
    return Certainty(error=error, unknown_error=0.16, answers_to_halve=answers)


def test_people_who_are_known_equally_well_share_a_line_and_those_known_least_come_first() -> None:
    people = {f"u{number:02d}": known(0.04, 2500 + number) for number in range(1, 13)} | {"ada": known(0.11, 90)}

    assert CertaintyOfRun(people=people, gain_errors={}).lines() == [
        "taste of ada: ±0.11 (before any answer: ±0.16); 90 more ratings would halve it",
        "taste of u01, u02, u03 and 9 more: ±0.04 (before any answer: ±0.16); "
        "2,501 to 2,512 more ratings would halve it",
    ]
