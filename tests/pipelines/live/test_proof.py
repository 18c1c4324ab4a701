"""What the votes of a proof say."""

import pytest

from pipelines.live.proof import ProofResult, share_of


def result(wins: int, votes: int) -> ProofResult:
    return ProofResult(whole=share_of("all", [True] * wins + [False] * (votes - wins)), parts=())


@pytest.mark.parametrize(
    ("wins", "votes", "said"),
    [
        (11, 12, "It worked"),
        (7, 12, "do not tell whether"),
        (10, 12, "It worked"),
        (9, 12, "do not tell whether"),
        (1, 12, "It did not work"),
        (3, 3, "do not tell whether"),
        (0, 12, "It did not work"),
    ],
)
def test_the_headline_claims_no_more_than_the_exact_interval(wins: int, votes: int, said: str) -> None:
    assert said in result(wins, votes).headline


def test_the_interval_is_clopper_and_pearsons() -> None:
    share = result(9, 12).whole  # Clopper and Pearson 1934; R: binom.test(9, 12)

    assert (share.low, share.high) == pytest.approx((0.4281415, 0.9451394), abs=1e-6)


def test_what_so_few_votes_cannot_say_is_said_whatever_came_out() -> None:
    for wins in (0, 6, 12):
        assert "prompts" in result(wins, 12).caution
