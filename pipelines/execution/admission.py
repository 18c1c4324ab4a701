"""Admission: how many cohorts are under way at a time – as few as keep the renderers busy.

Few, so that cohorts finish early and memory stays small. Enough, because a cohort gives the renderers no work while its
proposals are being written. If the renderers are never idle, then by Little's law the number of cohorts that wait for
proposals is

    proposal_s x iterations a second = proposal_s x renderers / (render_s x candidates)

Added to them are as many as give every place on the renderers two images, and one more, because the durations of calls
vary.
"""

import math


def max_cohorts_under_way(
    *, candidates: int, renderers: int, places: int, proposals: int, proposal_s: float, render_s: float
) -> int:
    """Cohorts that may be under way.

    The number decides when something is done, never what: the records do not depend on it.

    Parameters
    ----------
    candidates : int
        Images of one round of a cohort.
    renderers : int
        Renderers at work at a time.
    places : int
        Calls that may be on the renderers at a time, one or more for each.
    proposals : int
        Calls that may be on the proposers at a time, and so an upper limit of cohorts that wait for them.
    proposal_s, render_s : float
        Seconds that a call of each takes, as measured so far; 0 before the first.

    Returns
    -------
    At least two: one is rendered while the other's proposals are written.

    Example:

        max_cohorts_under_way(candidates=20, renderers=8, places=16, proposals=64, proposal_s=1.0, render_s=0.2) == 5
    """
    candidates = max(1, candidates)
    proposing = min(proposal_s * renderers / (render_s * candidates), proposals - 1) if render_s else 0
    return math.ceil(2 * places / candidates) + 1 + math.ceil(proposing)
