"""A proposer without a language model: it edits the best prompt's modifiers, with terms of the photographic vocabulary.

Invariants: every proposal is the base prompt, verbatim, followed by graded terms, of which no two are of one axis. The
sets of terms of one reply differ from each other and from the best prompt's.
"""

import random
from collections.abc import Iterator

from actors.messages import ProposalRequest, Proposals
from actors.renderers.darkroom.vocabulary import GRADES, VOCABULARY, GradedTerm, Term, find_terms, split_modifiers

MOST_TERMS = 6
_EDITS = (1, 2, 3)
_EDIT_WEIGHTS = (6, 3, 1)
_FIRST_GRADES = (0.25, 0.4, 0.25, 0.1)
"""Probability of each of GRADES for a new term."""
_DRAWS_PER_PROPOSAL = 200
"""Before giving up: a base prompt that names almost every axis itself leaves few combinations."""

Modifiers = tuple[GradedTerm, ...]


class Lexicon:
    """Proposer of the embedded preset; it takes milliseconds, and the same request gets the same proposals."""

    def setup(self) -> None:
        """Nothing to load."""

    def propose(self, request: ProposalRequest) -> Proposals:
        rng = random.Random(request.seed)
        current = tuple(split_modifiers(request.best_prompt, request.base_prompt))
        axes_in_base = {graded.term.axis for graded in find_terms(request.base_prompt)}
        terms = _shuffled([term for term in VOCABULARY if term.axis not in axes_in_base], rng)
        seen = {frozenset(current)}
        proposals: list[str] = []
        for _ in range(_DRAWS_PER_PROPOSAL * request.count):
            if len(proposals) == request.count:
                break
            modifiers = _vary(current, terms, rng) if current else _compose(terms, rng)
            if modifiers and frozenset(modifiers) not in seen:
                seen.add(frozenset(modifiers))
                proposals.append(", ".join([request.base_prompt, *(graded.phrase for graded in modifiers)]))
        missing = request.count - len(proposals)
        return Proposals(prompts=tuple(proposals), refused={"vocabulary exhausted": missing} if missing else {})


def _shuffled(terms: list[Term], rng: random.Random) -> Iterator[Term]:
    """All terms in random order, over and over, so that a reply explores the vocabulary evenly."""
    while terms:
        yield from rng.sample(terms, len(terms))


def _compose(terms: Iterator[Term], rng: random.Random) -> Modifiers:
    """One to four terms, for a best prompt that has none yet."""
    modifiers: Modifiers = ()
    for _ in range(rng.randint(1, 4)):
        modifiers = _add(modifiers, terms, rng)
    return modifiers


def _vary(current: Modifiers, terms: Iterator[Term], rng: random.Random) -> Modifiers:
    """One to three random edits."""
    modifiers = current
    for _ in range(rng.choices(_EDITS, _EDIT_WEIGHTS)[0]):
        edits = [_add] if len(modifiers) < MOST_TERMS else []
        edits += [_regrade, _swap, _drop] if modifiers else []
        weights = [{_add: 5, _regrade: 3, _swap: 2, _drop: 1}[edit] for edit in edits]
        modifiers = rng.choices(edits, weights)[0](modifiers, terms, rng)
    return modifiers


def _add(modifiers: Modifiers, terms: Iterator[Term], rng: random.Random) -> Modifiers:
    """Add a term, in place of the term of the same axis if there is one."""
    term = next(terms, None)
    if term is None:
        return modifiers
    kept = tuple(graded for graded in modifiers if graded.term.axis != term.axis)
    return (*kept, GradedTerm(term, rng.choices(GRADES, _FIRST_GRADES)[0]))


def _drop(modifiers: Modifiers, _terms: Iterator[Term], rng: random.Random) -> Modifiers:
    index = rng.randrange(len(modifiers))
    return modifiers[:index] + modifiers[index + 1 :]


def _swap(modifiers: Modifiers, terms: Iterator[Term], rng: random.Random) -> Modifiers:
    return _add(_drop(modifiers, terms, rng), terms, rng)


def _regrade(modifiers: Modifiers, _terms: Iterator[Term], rng: random.Random) -> Modifiers:
    """Move one term a grade up or down."""
    index = rng.randrange(len(modifiers))
    place = GRADES.index(modifiers[index].grade)
    grade = rng.choice([GRADES[near] for near in (place - 1, place + 1) if 0 <= near < len(GRADES)])
    return (*modifiers[:index], GradedTerm(modifiers[index].term, grade), *modifiers[index + 1 :])
