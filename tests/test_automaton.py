import itertools

import pytest

from captioner.search.automaton import automaton
from tests.toys import END, A, B, C


@pytest.mark.parametrize(
    "required", [(), ((A,),), ((A,), (B,)), ((A, A, B),), ((A, B, A, C),), ((A, B), (B, C))]
)
def test_the_last_state_is_reached_by_those_who_said_everything_required(required):
    leads = automaton(required, words=7, end_id=END)
    for said in itertools.product((A, B, C), repeat=6):
        state = 0
        for word in said:
            state = leads[state, word]
        runs = {said[i:j] for i, j in itertools.combinations(range(7), 2)}
        assert (state == len(leads) - 1) == all(phrase in runs for phrase in required)


def test_end_leads_nowhere_before_everything_is_said():
    leads = automaton(((A,), (B,)), words=7, end_id=END)
    assert leads[:, END].tolist() == [-1, -1, -1, 3]
