"""The lexicon: a proposer that recombines the photographic vocabulary around the best prompt so far.

Invariant: every proposal is the base prompt, verbatim, followed by graded terms; proposals of one reply differ from
each other and from the best prompt in what they ask for, not only in order; no two terms of one axis meet.
"""

import random
from collections.abc import Iterator

from actors.messages import ProposalRequest, Proposals
from actors.renderers.darkroom.vocabulary import GRADES, VOCABULARY, GradedTerm, Term, find_terms, split_modifiers

MOST_TERMS = 6
_EDITS = (1, 2, 3)
_EDIT_WEIGHTS = (6, 3, 1)
_FIRST_GRADES = (0.25, 0.4, 0.25, 0.1)
"""How likely a new term gets each of GRADES."""
_TRIES = 200
"""For each proposal; a request that names almost every axis itself leaves few combinations."""

Modifiers = tuple[GradedTerm, ...]


class Lexicon:
    """Proposer of the embedded preset: no model, milliseconds, the same proposals for the same request."""

    def setup(self) -> None:
        """Nothing to load."""

    def propose(self, request: ProposalRequest) -> Proposals:
        chance = random.Random(request.seed)
        current = tuple(split_modifiers(request.best_prompt, request.base_prompt))
        spoken_for = {graded.term.axis for graded in find_terms(request.base_prompt)}
        deck = _deck([term for term in VOCABULARY if term.axis not in spoken_for], chance)
        seen = {frozenset(current)}
        proposals: list[str] = []
        for _ in range(_TRIES * request.count):
            if len(proposals) == request.count:
                break
            modifiers = _vary(current, deck, chance) if current else _compose(deck, chance)
            if modifiers and frozenset(modifiers) not in seen:
                seen.add(frozenset(modifiers))
                proposals.append(", ".join([request.base_prompt, *(graded.phrase for graded in modifiers)]))
        missing = request.count - len(proposals)
        return Proposals(prompts=tuple(proposals), refused={"vocabulary exhausted": missing} if missing else {})


def _deck(terms: list[Term], chance: random.Random) -> Iterator[Term]:
    """Deal all terms before one comes again, so that a reply explores the vocabulary evenly."""
    while terms:
        yield from chance.sample(terms, len(terms))


def _compose(deck: Iterator[Term], chance: random.Random) -> Modifiers:
    """Draw the first one to four terms."""
    modifiers: Modifiers = ()
    for _ in range(chance.randint(1, 4)):
        modifiers = _add(modifiers, deck, chance)
    return modifiers


def _vary(current: Modifiers, deck: Iterator[Term], chance: random.Random) -> Modifiers:
    """Make one to three edits."""
    modifiers = current
    for _ in range(chance.choices(_EDITS, _EDIT_WEIGHTS)[0]):
        edits = [_add] if len(modifiers) < MOST_TERMS else []
        edits += [_regrade, _swap, _drop] if modifiers else []
        weights = [{_add: 5, _regrade: 3, _swap: 2, _drop: 1}[edit] for edit in edits]
        modifiers = chance.choices(edits, weights)[0](modifiers, deck, chance)
    return modifiers


def _add(modifiers: Modifiers, deck: Iterator[Term], chance: random.Random) -> Modifiers:
    """Add a term; one that contradicts another replaces it."""
    term = next(deck, None)
    if term is None:
        return modifiers
    kept = tuple(graded for graded in modifiers if graded.term.axis != term.axis)
    return (*kept, GradedTerm(term, chance.choices(GRADES, _FIRST_GRADES)[0]))


def _drop(modifiers: Modifiers, _deck: Iterator[Term], chance: random.Random) -> Modifiers:
    index = chance.randrange(len(modifiers))
    return modifiers[:index] + modifiers[index + 1 :]


def _swap(modifiers: Modifiers, deck: Iterator[Term], chance: random.Random) -> Modifiers:
    return _add(_drop(modifiers, deck, chance), deck, chance)


def _regrade(modifiers: Modifiers, _deck: Iterator[Term], chance: random.Random) -> Modifiers:
    """Move one term a grade up or down."""
    index = chance.randrange(len(modifiers))
    place = GRADES.index(modifiers[index].grade)
    grade = chance.choice([GRADES[near] for near in (place - 1, place + 1) if 0 <= near < len(GRADES)])
    return (*modifiers[:index], GradedTerm(modifiers[index].term, grade), *modifiers[index + 1 :])
