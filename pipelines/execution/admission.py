"""How many trajectories are steered at a time: as few as keep the renderers busy.

Few, so that what is begun is finished early and memory holds little; enough, because a trajectory is of no use to the
renderers while its proposals are written. By Little's law those whose proposals are being written are

    proposal_s x iterations a second = proposal_s x renderers / (render_s x candidates)

if the renderers are never idle. Beside them there is work for every place on the renderers twice over, and one
trajectory more, because no two calls take the same time.
"""

import math


def in_flight(
    *, candidates: int, renderers: int, places: int, proposals: int, proposal_s: float, render_s: float
) -> int:
    """Trajectories that may be under way.

    It decides when something is done and never what: the records do not depend on it.

    Parameters
    ----------
    candidates : int
        Images of one iteration.
    renderers : int
        Renderers at work at a time.
    places : int
        Calls that may be on the renderers at a time, one or more for each.
    proposals : int
        Calls that may be on the proposers at a time: more trajectories than so many cannot be proposing.
    proposal_s, render_s : float
        Seconds that a call of each takes, as measured so far; 0 where nothing is known.

    Returns
    -------
    At least two: one is drawn while the other's proposals are written.

    Example:

        in_flight(candidates=20, renderers=8, places=16, proposals=64, proposal_s=1.0, render_s=0.2) == 5
    """
    candidates = max(1, candidates)
    proposing = min(proposal_s * renderers / (render_s * candidates), proposals - 1) if render_s else 0
    return math.ceil(2 * places / candidates) + 1 + math.ceil(proposing)
