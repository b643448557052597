import io
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from captioner.config import PreprocessConfig
from captioner.words.tokenizer import Tokenizer
from data.batching import BucketSampler, build_loader, collate
from data.coco import Record
from data.dataset import CaptionDataset, Example
from data.image_source import ImageSource

PAD = 0


def sampler(counts, lengths=None, **options) -> BucketSampler:
    return BucketSampler(
        counts, lengths or [5] * len(counts), **{"batch_size": 4, "shuffle": True} | options
    )


@pytest.fixture
def dataset(tmp_path):
    """Eleven photos, some with one caption, some with two of growing length."""
    records = []
    for n in range(11):
        stream = io.BytesIO()
        Image.fromarray(np.full((9, 12, 3), 20 * n, dtype=np.uint8)).save(stream, "PNG")
        (tmp_path / f"{n}.png").write_bytes(stream.getvalue())
        captions = ("a " + "very " * n + "gray wall", "a wall")[: 1 + (n % 3 > 0)]
        records.append(Record(image=f"{n}.png", image_id=n, captions=captions, split="train"))
    tokenizer = Tokenizer.train_words((c for r in records for c in r.captions), min_count=1)
    return CaptionDataset(
        records,
        ImageSource(tmp_path),
        preprocess=PreprocessConfig(height=8, width=8),
        tokenizer=tokenizer,
        augment=True,
    )


def test_captions_are_padded_on_the_right_and_lacking_ones_are_all_padding():
    pixels = torch.arange(24.0).reshape(2, 3, 2, 2)
    batch = collate(
        [
            Example(pixels[0], [[1, 7, 2], [1, 8, 9, 2]], 40, ("x", "y z")),
            Example(pixels[1], [[1, 2]], 41, ("",)),
        ],
        pad_id=PAD,
    )
    assert torch.equal(batch.inputs, pixels)
    assert batch.words.dtype == torch.int64
    assert batch.words.tolist() == [
        [[1, 7, 2, PAD], [1, 8, 9, 2]],
        [[1, 2, PAD, PAD], [PAD, PAD, PAD, PAD]],
    ]
    assert (batch.image_ids, batch.captions) == ([40, 41], [("x", "y z"), ("",)])


def test_a_batch_moves_its_tensors_and_keeps_the_rest():
    batch = collate([Example(torch.zeros(2, 3), [[1, 2]], 4, ("a",))], pad_id=PAD)
    moved = batch.to("meta")
    assert (moved.inputs.device.type, moved.words.device.type) == ("meta", "meta")
    assert (moved.image_ids, moved.captions) == ([4], [("a",)])
    assert batch.inputs.device.type == "cpu"


@pytest.mark.parametrize("shuffle", [True, False])
def test_every_image_comes_once_per_epoch_among_images_with_as_many_captions(shuffle):
    counts = [5] * 21 + [1] * 6 + [6]
    batches = sampler(counts, shuffle=shuffle)
    for epoch in range(3):
        batches.set_epoch(epoch)
        drawn = list(batches)
        assert len(drawn) == len(batches) == 6 + 2 + 1
        assert sorted(index for batch in drawn for _, index in batch) == list(range(28))
        assert {e for batch in drawn for e, _ in batch} == {epoch}
        assert all(len({counts[index] for _, index in batch}) == 1 for batch in drawn)
        assert Counter(map(len, drawn)) == Counter({4: 6, 1: 2, 2: 1})


def test_shuffled_batches_hold_captions_of_similar_length():
    lengths = np.random.default_rng(0).integers(5, 40, size=400).tolist()
    batches = sampler([5] * 400, lengths, batch_size=8)
    spread = [
        max(lengths[i] for _, i in batch) - min(lengths[i] for _, i in batch) for batch in batches
    ]
    assert max(spread) <= 3


def test_each_epoch_and_seed_has_its_own_order_which_it_keeps():
    def order(seed, epoch):
        batches = sampler([5] * 30, list(range(30)), seed=seed)
        batches.set_epoch(epoch)
        return list(batches)

    assert order(0, 1) == order(0, 1)
    places = [[[i for _, i in batch] for batch in order(*key)] for key in [(0, 0), (0, 1), (1, 0)]]
    assert places[0] != places[1] != places[2] != places[0]


def test_images_keep_their_company_in_no_two_epochs():
    batches = sampler([5] * 900, list(range(900)), batch_size=4)
    company = []
    for epoch in range(2):
        batches.set_epoch(epoch)
        company.append({frozenset(i for _, i in batch) for batch in batches})
    assert len(company[0] & company[1]) < 10


def test_an_epoch_resumes_where_it_stopped(dataset):
    batches = sampler([5] * 30, list(range(30)))
    batches.set_epoch(1)
    whole = list(batches)
    batches.set_epoch(1, done=3)
    assert list(batches) == whole[3:]
    batches.set_epoch(1)
    assert list(batches) == whole
    loader = build_loader(dataset, batch_size=3, shuffle=True)
    loader.set_epoch(2)
    last = list(loader)[4:]
    loader.set_epoch(2, done=4)
    assert [batch.image_ids for batch in loader] == [batch.image_ids for batch in last]


def test_without_shuffling_images_keep_their_order():
    batches = list(sampler([5] * 6, [9, 1, 8, 2, 7, 3], shuffle=False))
    assert batches == [[(0, 0), (0, 1), (0, 2), (0, 3)], [(0, 4), (0, 5)]]


def test_a_batch_without_images_is_refused():
    with pytest.raises(ValueError, match=r"batch_size is 0; it must be 1 or more\."):
        sampler([1], batch_size=0)


def test_workers_change_nothing_in_any_epoch(dataset):
    def epochs(workers):
        loader = build_loader(
            dataset, batch_size=3, shuffle=True, pad_id=PAD, seed=4, workers=workers
        )
        for epoch in (0, 1):
            loader.set_epoch(epoch)
            yield from loader

    alone, helped = list(epochs(0)), list(epochs(2))
    assert len(alone) == len(helped) == 2 * 5
    for one, other in zip(alone, helped, strict=True):
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.words, other.words)
        assert (one.image_ids, one.captions) == (other.image_ids, other.captions)
    first, second = alone[:5], alone[5:]
    assert sorted(i for b in first for i in b.image_ids) == list(range(11))
    assert sorted(i for b in second for i in b.image_ids) == list(range(11))
    assert [b.image_ids for b in first] != [b.image_ids for b in second]


def test_a_loader_augments_differently_in_each_epoch(dataset):
    loader = build_loader(dataset, batch_size=11, shuffle=False, pad_id=PAD)
    seen = []
    for epoch in (0, 1, 0):
        loader.set_epoch(epoch)
        seen.append(torch.cat([batch.inputs for batch in loader]))
    assert not torch.equal(seen[0], seen[1])
    assert torch.equal(seen[0], seen[2])


def test_loading_leaves_the_global_generator_alone(dataset):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    list(build_loader(dataset, batch_size=4, shuffle=True, pad_id=PAD))
    assert torch.equal(torch.get_rng_state(), before)


def test_shares_of_boxes_are_padded_like_their_words():
    examples = [
        Example(torch.zeros(1), [[1, 5, 2], [1, 2]], 1, ("a", ""), [torch.ones(2, 4)] * 2),
        Example(torch.zeros(1), [[1, 5, 6, 2]], 2, ("a b",), [torch.ones(3, 4)]),
    ]
    examples[0].shares[1] = torch.ones(1, 4)
    batch = collate(examples, PAD)
    real = (batch.words[:, :, 1:] != PAD)[..., None].expand(2, 2, 3, 4)
    assert torch.equal(batch.shares, real.float())
    assert torch.equal(batch.to("cpu").shares, batch.shares)
