"""Sandwich covariances: how estimates would vary if other groups of votes had been drawn.

A likelihood is a sum over rows, and each row touches few parameters, so that a million votes over a hundred conditions
are a few arrays. `jackknife` takes each group's influence with its own leverage taken out (CR3: Bell and McCaffrey
2002, Survey Methodology 28; MacKinnon, Nielsen and Webb 2023, J. Appl. Econometrics 38), which holds where some groups
vote far more than others; `plain` does not (CR1: Liang and Zeger 1986, Biometrika 73).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Codes = NDArray[np.int64]

HEAVY = 0.25
"""Leverage above which a group's influence is solved for; there are at most K / HEAVY such groups."""
LIGHT = 0.02
"""Leverage up to which one term of the series (I − H W⁻¹)⁻¹ does, to within 0.05%; between, four do, to 0.2%."""
_ALONE = 1 - 1e-8
"""Leverage in one direction from which on no other group tells anything about it."""
_CHUNK = 1 << 22
"""Most numbers in one array of groups × parameters: 32 MB."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """Derivatives of R rows of a log-likelihood at its maximum, each by W of the K parameters.

    Example:

        Rows(columns=np.array([[0, 1]]), score=np.array([[0.3, -0.3]]), root=np.array([[[0.5, -0.5]]]))
    """

    columns: Codes
    """(R, W): the parameters."""
    score: Numbers
    """(R, W): the derivatives."""
    root: Numbers
    """(R, Q, W): the row's observed information is the sum over q of its outer products with itself."""

    def select(self, rows: Codes) -> "Rows":
        """Some of the rows."""
        return Rows(columns=self.columns[rows], score=self.score[rows], root=self.root[rows])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Jackknife:
    """A covariance by groups."""

    matrix: Numbers
    """(K, K); nan for fewer than two groups."""
    alone: tuple[int, ...] = ()
    """Groups without which some parameters would not be known at all; `plain` is used for these."""


def jackknife(rows: Rows, group: Codes, groups: int, information: Numbers) -> Jackknife:
    """Covariance CR3 of parameters by groups of rows.

    Parameters
    ----------
    group
        (R,), from 0 to `groups` − 1.
    information
        (K, K), of all rows and of what else is in the likelihood; regular.
    """
    size = len(information)
    if groups < 2:
        return Jackknife(matrix=np.full((size, size), np.nan))
    inverse = np.linalg.inv(information)
    if np.any(group[1:] < group[:-1]):
        order = np.argsort(group, kind="stable")
        rows, group = rows.select(order), group[order]
    matrix, alone = np.zeros_like(inverse), []
    step = max(1, _CHUNK // size)
    for low in range(0, groups, step):
        begin, end = np.searchsorted(group, [low, low + step])
        part = rows.select(np.s_[begin:end])  # pyright: ignore[reportArgumentType]
        own, lone = _part(part, group[begin:end] - low, min(step, groups - low), groups, information, inverse)
        matrix += own
        alone += [low + n for n in lone]
    return Jackknife(matrix=matrix, alone=tuple(alone))


def plain(rows: Rows, group: Codes, groups: int, information: Numbers) -> Numbers:
    """Covariance CR1 (K, K) of parameters by groups of rows; nan for fewer than two groups."""
    size = len(information)
    if groups < 2:
        return np.full((size, size), np.nan)
    if groups * size <= _CHUNK // 4:
        cell = group[:, None] * size + rows.columns
        score = np.bincount(cell.ravel(), rows.score.ravel(), groups * size).reshape(groups, size)
        square = score.T @ score
    else:
        from scipy.sparse import coo_array

        at = np.repeat(group, rows.columns.shape[1]), rows.columns.ravel()
        sparse = coo_array((rows.score.ravel(), at), shape=(groups, size)).tocsr()
        square = (sparse.T @ sparse).toarray()
    half = np.linalg.solve(information, square)
    return groups / (groups - 1) * np.linalg.solve(information, half.T)


def information_of(columns: Codes, root: Numbers, size: int) -> Numbers:
    """Observed information (K, K) of rows together; arguments as the fields of `Rows`."""
    outer = np.einsum("rqi,rqj->rij", root, root)
    cell = columns[:, :, None] * size + columns[:, None, :]
    return np.bincount(cell.ravel(), outer.ravel(), size**2).reshape(size, size)


def _part(
    rows: Rows, group: Codes, count: int, groups: int, information: Numbers, inverse: Numbers
) -> tuple[Numbers, list[int]]:
    """The part of the covariance (K, K) that some of the groups make, and which of them stand alone."""
    size = len(inverse)
    cell = group[:, None] * size + rows.columns

    def summed(values: Numbers) -> Numbers:
        return np.bincount(cell.ravel(), values.ravel(), count * size).reshape(count, size)

    square = inverse[rows.columns[:, :, None], rows.columns[:, None, :]]
    share = np.einsum("rqi,rij,rqj->r", rows.root, square, rows.root, optimize=True)
    leverage = np.bincount(group, share, count)
    score = summed(rows.score)
    corrected = score
    for least in (-1.0, LIGHT, LIGHT, LIGHT):
        which = (leverage > least) & (leverage <= HEAVY)
        if not which.any():
            continue
        along = np.einsum("rqw,rw->rq", rows.root, (corrected @ inverse).ravel()[cell])
        corrected = np.where(which[:, None], score + summed(np.einsum("rqw,rq->rw", rows.root, along)), corrected)
    influence = corrected @ inverse
    light = influence[leverage <= HEAVY]
    matrix, alone = (groups - 1) / groups * light.T @ light, []
    whitening = np.linalg.inv(np.linalg.cholesky(information)) if np.any(leverage > HEAVY) else inverse
    for n in np.flatnonzero(leverage > HEAVY):
        begin, end = np.searchsorted(group, [n, n + 1])
        own = information_of(rows.columns[begin:end], rows.root[begin:end], size)
        values, vectors = np.linalg.eigh(whitening @ own @ whitening.T)
        if values[-1] > _ALONE:
            alone.append(int(n))
            matrix += groups / (groups - 1) * np.outer(influence[n], influence[n])
        else:
            exact = whitening.T @ (vectors @ ((vectors.T @ (whitening @ score[n])) / (1 - values)))
            matrix += (groups - 1) / groups * np.outer(exact, exact)
    return matrix, alone
