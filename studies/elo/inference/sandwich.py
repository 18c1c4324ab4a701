"""Sandwich covariances: how estimates would vary if other groups of votes had been drawn.

A likelihood is a sum over rows, and each row touches few parameters, so that a million votes over a hundred conditions
are a few arrays. `jackknife` takes each group's influence with its own leverage taken out (CR3: Bell and McCaffrey
2002, Survey Methodology 28; MacKinnon, Nielsen and Webb 2023, J. Appl. Econometrics 38), which holds where some groups
vote far more than others; `plain` does not (CR1: Liang and Zeger 1986, Biometrika 73).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Codes = NDArray[np.int64]

MOST_ROWS = 1 << 20
"""Votes of which the rows are made at once."""
_TOLERANCE = 1e-12
"""Of the squared error of an influence, against its own square."""
_NOTHING = 1e-18
"""A squared influence below this, against the largest one's, is rounding."""
_MOST_STEPS = 200
_CHUNK = 1 << 22
"""Most numbers in one array of groups × parameters: 32 MB."""
_IN_CACHE = 1 << 18
"""As many where each is used once: 2 MB stay in a core's cache, which halves the time."""


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

    def select(self, rows: Codes | slice) -> "Rows":
        """Some of the rows."""
        return Rows(columns=self.columns[rows], score=self.score[rows], root=self.root[rows])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Block:
    """Rows of whole groups."""

    rows: Rows
    group: Codes
    """(R,), from 0 to `groups` − 1."""
    groups: int


def jackknife(rows: Rows, group: Codes, groups: int, information: Numbers) -> Numbers:
    """Covariance CR3 (K, K) of parameters by groups of rows; nan for fewer than two groups.

    A group without which some parameters would not be known at all adds nothing along these: its rows fit them
    perfectly, whatever it answered (Hansen 2025, J. Appl. Econometrics 40, of generalised inverses).

    Parameters
    ----------
    group
        (R,), from 0 to `groups` − 1.
    information
        (K, K), of all rows and of what else is in the likelihood; regular.

    Raises
    ------
    RuntimeError
        The influences have not converged.
    """
    if groups < 2:
        return np.full_like(information, np.nan)
    return jackknife_of([Block(rows=rows, group=group, groups=groups)], information)


def jackknife_of(blocks: Iterable[Block], information: Numbers) -> Numbers:
    """Covariance CR3 (K, K) of rows that come a block after the other, of two groups or more; see `jackknife`."""
    inverse = np.asarray(np.linalg.inv(information), np.float64)
    matrix, groups = np.zeros_like(inverse), 0
    for block in blocks:
        for part in _parts(block, max(1, _CHUNK // len(information))):
            influence = _influence(part.rows, part.group, part.groups, information, inverse)
            matrix += influence.T @ influence
        groups += block.groups
    return (groups - 1) / groups * matrix


def plain(rows: Rows, group: Codes, groups: int, information: Numbers) -> Numbers:
    """Covariance CR1 (K, K) by groups of rows; nan for fewer than two groups."""
    return plain_of([Block(rows=rows, group=group, groups=groups)], information)


def plain_of(blocks: Iterable[Block], information: Numbers) -> Numbers:
    """Covariance CR1 (K, K) of rows that come a block after the other."""
    size = len(information)
    square, groups = np.zeros((size, size)), 0
    for block in blocks:
        for part in _parts(block, max(1, _IN_CACHE // size)):
            cell = part.group[:, None] * size + part.rows.columns
            score = _totals(cell, part.rows.score, part.groups * size).reshape(part.groups, size)
            square += score.T @ score
        groups += block.groups
    if groups < 2:
        return np.full((size, size), np.nan)
    half = np.linalg.solve(information, square)
    return np.asarray(groups / (groups - 1) * np.linalg.solve(information, half.T), np.float64)


def blocks_of(group: Codes) -> Iterator[slice | Codes]:
    """Rows in blocks of whole groups, no more of them at once than memory should hold."""
    if len(group) <= MOST_ROWS:
        yield slice(None)
        return
    order = np.argsort(group, kind="stable") if np.any(group[1:] < group[:-1]) else None
    own, low = (group if order is None else group[order]), 0
    while low < len(own):
        high = len(own)
        if low + MOST_ROWS < high:
            high = int(np.searchsorted(own, own[low + MOST_ROWS]))
            high = high if high > low else int(np.searchsorted(own, own[low], "right"))
        yield slice(low, high) if order is None else order[low:high]
        low = high


def _parts(block: Block, most: int) -> Iterator[Block]:
    """A block in parts of no more groups than that, each numbered from 0."""
    if block.groups <= most:
        yield block
        return
    rows, group = block.rows, block.group
    if np.any(group[1:] < group[:-1]):
        order = np.argsort(group, kind="stable")
        rows, group = rows.select(order), group[order]
    for low in range(0, block.groups, most):
        begin, end = np.searchsorted(group, [low, low + most])
        part = rows.select(slice(begin, end))
        yield Block(rows=part, group=group[begin:end] - low, groups=min(most, block.groups - low))


def information_of(columns: Codes, root: Numbers, size: int) -> Numbers:
    """Observed information (K, K) of rows together; arguments as the fields of `Rows`."""
    outer = np.einsum("rqi,rqj->rij", root, root)
    cell = columns[:, :, None] * size + columns[:, None, :]
    return _totals(cell, outer, size**2).reshape(size, size)


def _influence(rows: Rows, group: Codes, groups: int, information: Numbers, inverse: Numbers) -> Numbers:
    """How far each group moves the parameters (groups, K): (W − H)⁻¹ s, by conjugate gradients from W⁻¹.

    The eigenvalues of H W⁻¹ are the group's leverages, which are near 0 where there are many groups, and no more than
    K of them differ: two to five steps do.
    """
    size = len(inverse)
    cell = group[:, None] * size + rows.columns

    def summed(values: Numbers) -> Numbers:
        return _totals(cell, values, groups * size).reshape(groups, size)

    def without_own(moved: Numbers) -> Numbers:
        along = np.einsum("rqw,rw->rq", rows.root, moved.ravel()[cell])
        return moved @ information - summed(np.einsum("rqw,rq->rw", rows.root, along))

    residual = summed(rows.score)
    found, direction = np.zeros_like(residual), residual @ inverse
    square = (residual * direction).sum(1)
    enough = np.maximum(_TOLERANCE * square, _NOTHING * square.max(initial=0))
    open_ = square > enough
    for _ in range(_MOST_STEPS):
        if not open_.any():
            return found
        image = without_own(direction)
        curvature = (direction * image).sum(1)
        length = np.where(open_, square, 0) / np.where(open_, curvature, 1)
        found += length[:, None] * direction
        residual -= length[:, None] * image
        next_ = residual @ inverse
        after = (residual * next_).sum(1)
        direction = next_ + np.where(open_, after, 0)[:, None] / np.where(open_, square, 1)[:, None] * direction
        square = np.where(open_, after, square)
        open_ = square > enough
    raise RuntimeError(
        f"the influence of {int(open_.sum())} of {groups} groups of votes has not converged in {_MOST_STEPS} steps"
    )


def _totals(cell: Codes, values: Numbers, count: int) -> Numbers:
    """Sums of values by cell, (count,)."""
    return np.bincount(cell.ravel(), values.ravel(), count).astype(np.float64, copy=False)
