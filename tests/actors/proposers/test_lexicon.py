import pickle

from hypothesis import given
from hypothesis import strategies as st

from actors.messages import ProposalRequest
from actors.proposers.lexicon import MOST_TERMS, Lexicon
from actors.renderers.darkroom.vocabulary import GRADES, VOCABULARY, GradedTerm, find_terms, split_modifiers

graded_terms = st.builds(GradedTerm, st.sampled_from(VOCABULARY), st.sampled_from(GRADES))
modifier_lists = st.lists(graded_terms, unique_by=lambda graded: graded.term.axis, max_size=MOST_TERMS)


def propose(base: str, modifiers: list[GradedTerm], count: int = 20, seed: int = 0) -> tuple[str, ...]:
    best = ", ".join([base, *(graded.phrase for graded in modifiers)])
    request = ProposalRequest(base_prompt=base, best_prompt=best, best_score=0.5, count=count, seed=seed)
    return Lexicon().propose(request).prompts


@given(st.text(), modifier_lists, st.integers(1, 40), st.integers(0, 2**63))
def test_proposals_keep_the_base_prompt_and_are_as_many_as_asked(base, modifiers, count, seed) -> None:
    proposals = propose(base, modifiers, count, seed)
    assert len(proposals) == count
    assert all(proposal.startswith(f"{base}, ") for proposal in proposals)


@given(modifier_lists, st.integers(0, 2**63))
def test_proposals_ask_for_different_things_and_none_for_what_the_best_has(modifiers, seed) -> None:
    asked = [frozenset(split_modifiers(proposal, "a cat")) for proposal in propose("a cat", modifiers, seed=seed)]
    assert len({*asked, frozenset(modifiers)}) == len(asked) + 1


@given(modifier_lists, st.integers(0, 2**63))
def test_proposals_are_terms_and_nothing_else_with_no_two_of_an_axis(modifiers, seed) -> None:
    for proposal in propose("a cat", modifiers, seed=seed):
        terms = split_modifiers(proposal, "a cat")
        assert ", ".join(["a cat", *(graded.phrase for graded in terms)]) == proposal
        assert 1 <= len(terms) <= MOST_TERMS
        assert len({graded.term.axis for graded in terms}) == len(terms)


def test_a_first_reply_draws_one_to_four_terms_and_covers_the_vocabulary_widely() -> None:
    proposals = [split_modifiers(proposal, "a cat") for proposal in propose("a cat", [])]
    assert {len(terms) for terms in proposals} <= {1, 2, 3, 4}
    assert len({graded.term.name for terms in proposals for graded in terms}) > 30


def test_later_replies_stay_near_the_best_prompt() -> None:
    best = find_terms("golden hour, very vibrant, bokeh, film grain")
    for proposal in propose("a cat", best):
        assert len(set(best) - set(split_modifiers(proposal, "a cat"))) <= 3


def test_proposals_never_contradict_what_the_person_asked_for() -> None:
    for seed in range(20):
        for proposal in propose("a foggy harbour at golden hour", [], seed=seed):
            axes = [graded.term.axis for graded in find_terms(proposal)]
            assert len(axes) == len(set(axes))


def test_the_seed_decides_the_reply_even_after_pickling() -> None:
    request = ProposalRequest(base_prompt="a cat", best_prompt="a cat, moody", best_score=0.1, count=20, seed=5)
    assert Lexicon().propose(request) == pickle.loads(pickle.dumps(Lexicon())).propose(request)  # noqa: S301
    assert propose("a cat", [], seed=1) != propose("a cat", [], seed=2)


def test_a_prompt_that_leaves_no_axis_free_is_answered_with_what_there_is() -> None:
    everything = ", ".join(term.name for term in VOCABULARY)
    request = ProposalRequest(base_prompt=everything, best_prompt=everything, best_score=0, count=5, seed=0)
    reply = Lexicon().propose(request)
    assert reply.prompts == ()
    assert reply.refused == {"vocabulary exhausted": 5}
