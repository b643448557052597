import torch
from torch.testing import assert_close

from captioner.decoders.words import WordTable


def test_a_tied_table_scores_by_the_vectors_it_reads():
    table = WordTable(words=7, width=4, tie=True)
    state = torch.randn(2, 3, 4)
    with torch.no_grad():
        table.bias.copy_(torch.arange(7.0))
    assert_close(table.logits(state), state @ table(torch.arange(7)).T + torch.arange(7.0))


def test_an_untied_table_scores_by_vectors_of_its_own():
    table = WordTable(words=7, width=4, tie=False)
    state = torch.randn(2, 3, 4)
    assert_close(table.logits(state), state @ table.output.weight.T)
    assert not torch.equal(table.output.weight, table.vectors.weight)


def test_a_tied_table_is_stored_once():
    tied = WordTable(words=7, width=4, tie=True).state_dict()
    assert {name: tuple(x.shape) for name, x in tied.items()} == {
        "vectors.weight": (7, 4),
        "bias": (7,),
    }
    untied = WordTable(words=7, width=4, tie=False).state_dict()
    assert set(untied) - set(tied) == {"output.weight"}


def test_a_tied_table_learns_from_reading_and_from_scoring():
    table = WordTable(words=7, width=4, tie=True)
    table(torch.tensor([3])).sum().backward()
    assert table.vectors.weight.grad.abs().sum(dim=1).nonzero().flatten().tolist() == [3]
    table.vectors.weight.grad = None
    table.logits(torch.ones(1, 4)).sum().backward()
    assert table.vectors.weight.grad.ne(0).all()


def test_vectors_start_at_about_length_one():
    torch.manual_seed(0)
    vectors = WordTable(words=500, width=64, tie=True).vectors.weight
    assert_close(vectors.norm(dim=1).mean(), torch.tensor(1.0), atol=0.02, rtol=0)
