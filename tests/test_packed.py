"""What is packed comes out as it went in, and worker processes share it."""

import multiprocessing
import re
from pathlib import Path

import pytest
import torch

from data.packed import Packed, PackedDict

ITEMS = [("a dog", 7), ("", 0), (["é", "\udcff"], None), {"a": [1.5]}]


def test_a_packed_sequence_is_the_sequence():
    packed = Packed(iter(ITEMS))
    assert list(packed) == ITEMS
    assert (len(packed), packed[2], packed[-1]) == (4, ITEMS[2], ITEMS[3])
    assert (packed[1:3], packed[::-2], packed[9:]) == (ITEMS[1:3], ITEMS[::-2], [])
    for outside in (4, -5):
        with pytest.raises(IndexError):
            packed[outside]


def test_nothing_is_packed_as_well():
    assert (len(Packed(())), list(Packed(()))) == (0, [])
    assert (len(PackedDict({})), dict(PackedDict({}))) == (0, {})


def test_a_packed_mapping_is_the_mapping_in_its_order():
    items = {"b": [1, 2], "a": [], ("c", 3): None}
    packed = PackedDict(items)
    assert list(packed.items()) == list(items.items())
    assert ("b" in packed, "x" in packed, packed.get("x")) == (True, False, None)
    with pytest.raises(KeyError, match="'x'"):
        packed["x"]


def test_an_item_is_anothers_to_change():
    packed = Packed([[1]])
    packed[0].append(2)
    assert packed[0] == [1]


def _read(packed, queue) -> None:
    before = _own_memory()
    torch.set_num_threads(1)
    total = sum(len(text) for text, _ in packed)
    queue.put((total, _own_memory() - before))


def _own_memory() -> int:
    """Bytes that this process shares with no other."""
    text = Path("/proc/self/smaps_rollup").read_text()
    return 1024 * sum(int(size) for size in re.findall(r"^Private_\w+: +(\d+) kB", text, re.M))


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux")
@pytest.mark.parametrize("way", ["fork", "spawn"])
def test_a_worker_that_reads_all_of_it_copies_none_of_it(way):
    size, packed = 64_000_000, Packed(("x" * 1000, n) for n in range(64_000))
    context = multiprocessing.get_context(way)
    queue = context.Queue()
    worker = context.Process(target=_read, args=(packed, queue))
    worker.start()
    total, more = queue.get(timeout=60)
    worker.join()
    assert total == size
    assert more < size / 8
