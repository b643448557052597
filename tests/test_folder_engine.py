import gc
import shutil
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from captioner.errors import ConfigError
from captioner.folder.engines.local import LocalEngine
from captioner.folder.engines.sizing import BatchSize
from captioner.folder.journal.index import JournalIndex
from captioner.folder.journal.records import JournalRecord
from captioner.folder.sources.inputs import Filter, Photo, find_photos
from captioner.onnx import OnnxCaptioner
from captioner.pytorch import TorchCaptioner
from captioner.speed.precision import _knows_bfloat16, find_precision
from tests.photos import quarters

CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def model(checkpoints):
    return TorchCaptioner.load(checkpoints["lstm"], device="cpu")


@pytest.fixture
def folder(tmp_path, photos):
    for photo in photos:
        shutil.copy(photo, tmp_path)
    return tmp_path


def engine_of(model, **options):
    options = {"batch_size": 4, "workers": 2} | options
    return LocalEngine(model, search=model.header.search, **options)


def caption(engine, folder):
    found = find_photos(folder, Filter())
    return [(photo.name, outcome) for batch in engine.run(found) for photo, outcome in batch]


def test_a_photo_on_which_the_model_fails_does_not_fail_its_batch(model, folder, monkeypatch):
    whole = TorchCaptioner.caption_batch
    names = sorted(path.name for path in folder.iterdir())

    def failing(self, photos, **options):
        if any(photo.image.endswith(names[1]) for photo in photos):
            raise RuntimeError("the size of tensor a (3) must match")
        return whole(self, photos, **options)

    expected = {path.name: model.caption(path).text for path in folder.iterdir()}
    expected[names[1]] = (
        "the model fails on it (the size of tensor a (3) must match); resave it with another "
        "program."
    )
    monkeypatch.setattr(TorchCaptioner, "caption_batch", failing)
    outcomes = dict(caption(engine_of(model), folder))
    assert {name: getattr(found, "text", found) for name, found in outcomes.items()} == expected


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            AttributeError("no attribute 'size'"),
            "internal error (AttributeError: no attribute 'size'); please report this bug.",
        ),
        (MemoryError(), "not enough memory to read it; use fewer --workers."),
    ],
)
def test_bugs_and_memory_errors_are_not_blamed_on_the_photo(
    model, folder, monkeypatch, error, reason
):
    whole = TorchCaptioner.prepare
    (first, *_) = sorted(path.name for path in folder.iterdir())

    def failing(self, photo, **options):
        if photo.endswith(first):
            raise error
        return whole(self, photo, **options)

    expected = {path.name: model.caption(path).text for path in folder.iterdir()}
    monkeypatch.setattr(TorchCaptioner, "prepare", failing)
    outcomes = dict(caption(engine_of(model), folder))
    expected[first] = reason
    assert {name: getattr(found, "text", found) for name, found in outcomes.items()} == expected


def test_running_out_of_memory_while_resizing_is_reported(model, folder, monkeypatch):
    def failing(photo, size, interpolation):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes")

    monkeypatch.setattr("captioner.pytorch.resize", failing)
    reason = "not enough memory to read it; use fewer --workers."
    assert {outcome for _, outcome in caption(engine_of(model), folder)} == {reason}


def test_a_model_that_fails_on_every_photo_ends_the_run(model, folder, monkeypatch):
    def failing(self, photos, **options):
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(TorchCaptioner, "caption_batch", failing)
    with pytest.raises(RuntimeError, match="device-side assert"):
        caption(engine_of(model), folder)


def test_memory_that_does_not_suffice_halves_the_batch(model, folder, monkeypatch):
    sizes = []
    whole = TorchCaptioner.caption_batch

    def small(self, photos, **options):
        sizes.append(len(photos))
        if len(photos) > 1:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to ...")
        return whole(self, photos, **options)

    expected = [(path.name, model.caption(path).text) for path in sorted(folder.iterdir())]
    monkeypatch.setattr(TorchCaptioner, "caption_batch", small)
    engine = engine_of(model)
    assert [(name, found.text) for name, found in caption(engine, folder)] == expected
    assert sizes == [4, 2, 1, 1, 1, 1]
    assert engine.batch_size == 1


def test_other_model_errors_are_not_mistaken_for_memory_errors(model, folder, monkeypatch):
    def broken(self, photos, **options):
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(TorchCaptioner, "caption_batch", broken)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        caption(engine_of(model), folder)


@pytest.mark.parametrize("threads", [1, 3])
def test_batches_side_by_side_come_back_in_the_order_of_the_photos(model, folder, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        many = [Photo(name=str(n), path=str(folder / "flag.png")) for n in range(9)]
        many[4] = Photo(name="4", path=str(folder / "gone.png"))
        outcomes = [pair for batch in engine_of(model, batch_size=2).run(many) for pair in batch]
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert [photo.name for photo, _ in outcomes] == [str(n) for n in range(9)]
    assert [photo.name for photo, outcome in outcomes if isinstance(outcome, str)] == ["4"]


def test_photos_are_taken_only_as_they_are_needed(model, folder):
    taken = []

    def feed():
        for n in range(1000):
            taken.append(n)
            yield Photo(name=str(n), path=str(folder / "flag.png"))

    most = 2 * (2 * torch.get_num_threads())
    run = engine_of(model, batch_size=2).run(feed())
    next(run)
    assert len(taken) <= most
    run.close()


def test_onnxruntime_captions_a_folder_with_a_lane_per_core(kind, exports, folder, monkeypatch):
    monkeypatch.setattr("captioner.onnx.runner.count_cores", lambda: 3)
    runner = OnnxCaptioner.load(exports[kind])
    expected = [(path.name, runner.caption(path).text) for path in sorted(folder.iterdir())]
    bulk = runner.for_bulk()
    with bulk.lanes() as lanes:
        assert lanes == 3
    found = caption(engine_of(bulk, batch_size=2), folder)
    assert [(name, outcome.text) for name, outcome in found] == expected


def test_memory_errors_of_onnxruntime_are_distinguished_from_others(exports, monkeypatch):
    runner = OnnxCaptioner.load(exports["lstm"])
    for text, kind in (
        ("BFCArena: Failed to allocate memory for requested buffer of size 9", MemoryError),
        ("Got invalid dimensions for input: pixels", RuntimeError),
    ):

        def failing(*_, text=text):
            raise Exception(text)

        monkeypatch.setattr(runner._encoder, "_session", SimpleNamespace(run=failing))
        with pytest.raises(kind, match=text[:20]):
            runner.caption(quarters())


def test_captions_without_words_are_the_same_sentences(model, folder):
    with_words = caption(engine_of(model), folder)
    without = caption(engine_of(model, words=False), folder)
    for (_, one), (_, other) in zip(with_words, without, strict=True):
        assert one.words
        assert not other.words
        assert other.text == one.text
        assert other.candidates == one.candidates
        assert other.log_probability == pytest.approx(one.log_probability, abs=1e-5)


def test_bfloat16_is_close_to_float32_and_attention_still_sums_to_1(checkpoint, photos):
    exact = TorchCaptioner.load(checkpoint, device="cpu")
    half = TorchCaptioner.load(checkpoint, device="cpu", precision="bfloat16")
    prepared = [exact.prepare(photo) for photo in photos]
    features, rounded = exact.encode(prepared), half.encode(prepared)
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - features).abs().max() < 0.05 * features.abs().max()
    for word in half.caption(photos[0]).words:
        assert word.attention.dtype == np.float32
        assert word.attention.sum() == pytest.approx(1, abs=1e-5)


def test_auto_takes_bfloat16_only_where_the_processor_says_it_has_it(tmp_path, monkeypatch):
    cpu = tmp_path / "cpuinfo"
    cpu.write_text("processor : 0\nflags\t\t: fpu avx512f avx512_bf16\nflags : fpu\n")
    assert _knows_bfloat16(cpu)
    cpu.write_text("processor : 0\nflags\t\t: fpu avx512f\n")
    assert not _knows_bfloat16(cpu)
    assert not _knows_bfloat16(tmp_path / "none")
    for there, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr("captioner.speed.precision._knows_bfloat16", lambda there=there: there)
        assert find_precision("auto", CPU) == expected
    assert find_precision("float32", CPU) == torch.float32


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("half", "precision is 'half'; choose from auto, float32, bfloat16, float16 for torch."),
        ("float16", "precision float16 is for GPUs; choose auto, bfloat16 or float32 on a CPU."),
    ],
)
def test_a_precision_that_cannot_be_is_refused(name, message):
    with pytest.raises(ConfigError) as error:
        find_precision(name, CPU)
    assert str(error.value) == message


def run_sizes(size, seconds, batches=40):
    """Report batches of a machine that takes `seconds(photos)` for one; sizes as they come."""
    sizes = []
    for _ in range(batches):
        sizes.append(size.now)
        size.record_time(size.now, seconds(size.now))
    return sizes


def test_the_batch_grows_while_photos_take_less_time_and_stays_where_they_do_not():
    # 8 ms a batch and 1 ms a photo, up to 32 photos, where some cache is full.
    sizes = run_sizes(BatchSize(None, lambda: True), lambda n: 8 + n + 100 * (n > 32))
    assert sizes == [4, 4, 8, 8, 16, 16, 32, 32, 64, 64] + [32] * 30
    # Doubling 16 saves less than 5 %.
    sizes = run_sizes(BatchSize(None, lambda: True), lambda n: 1 + n)
    assert sizes == [4, 4, 8, 8, 16, 16] + [32] * 34
    assert run_sizes(BatchSize(12, lambda: True), lambda n: 8 + n) == [12] * 40


def test_the_batch_does_not_grow_beyond_the_memory_there_is():
    assert run_sizes(BatchSize(None, lambda: False), lambda n: 8 + n) == [4] * 40
    size = BatchSize(None, lambda: True)
    run_sizes(size, lambda n: 8 + n, batches=6)
    size.record_out_of_memory(16)
    assert run_sizes(size, lambda n: 8 + n) == [8] * 40


def test_a_batch_size_found_on_a_busy_machine_is_searched_again():
    size = BatchSize(None, lambda: True)
    assert run_sizes(size, lambda n: n)[-1] == 8  # nothing is gained by doubling
    sizes = run_sizes(size, lambda n: 8 + n + 100 * (n > 32), batches=150)
    assert sizes[-1] == 32
    assert set(sizes) == {4, 8, 16, 32, 64}


def test_half_a_batch_teaches_nothing_about_the_size():
    size = BatchSize(None, lambda: True)
    for _ in range(9):
        size.record_time(3, 0.001)
    assert size.now == 4


def test_what_is_remembered_of_a_photo_that_is_done_is_small():
    index = JournalIndex(Path("captions.jsonl"))
    names = [f"holiday/with/a/long/name/of/a/folder/{n:09}.jpg" for n in range(20_000)]
    gc.collect()
    tracemalloc.start()
    for name in names:
        index.add(
            JournalRecord(image=name, status="captioned", caption="a dog", log_probability=-1.0),
            start=0,
        )
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size / len(names) < 200  # bytes


def test_a_run_holds_no_more_for_many_photos_than_for_few(command, tmp_path):
    quarters(8, 8).save(tmp_path / "photo.png")

    def peak(count):
        """Bytes that Python holds at most while this many photos are captioned."""
        listed = tmp_path / f"{count}.txt"
        listed.write_text("".join(f"./{'/' * n}photo.png\n" for n in range(count)))
        options = ("--batch-size", 4, "--search", "greedy", "--max-words", 1, "--quiet")
        output = tmp_path / f"{count}.jsonl"
        gc.collect()
        tracemalloc.start()
        assert command("--list", listed, tmp_path, "--output", output, *options)[0] == 0
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(output.read_text().splitlines()) == count
        return size

    peak(10)  # imports, caches
    assert peak(400) - peak(40) < 360 * 2000  # bytes; a decoded photo alone is 147,456
