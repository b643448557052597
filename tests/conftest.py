"""Fixtures shared by many tests: small checkpoints with random weights, and photos to caption."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from captioner.checkpoint.header import Header
from captioner.checkpoint.weights import save_checkpoint
from captioner.cli import main
from captioner.config import EncoderConfig, ModelConfig, PreprocessConfig, SearchConfig
from captioner.decoders import RecurrentConfig, TransformerConfig
from captioner.model import CaptionModel, build_model
from captioner.words.tokenizer import Tokenizer
from tests import searching
from tests.photos import noise, quarters
from tests.tongues import ENGLISH, MANY_TONGUES

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from tests.together import Together

CAPTIONS = (
    "a dog's ball on the beach",
    "a cat sees the man's dog",
    "two girls don't run on the red grass",
)

SLOW = {
    "alignment", "app", "app_browser", "app_browser_access", "app_browser_attention",
    "app_browser_batch", "app_browser_pretrained", "app_browser_session", "app_browser_views",
    "app_guard",
    "app_mcp", "app_start", "app_whatif", "checkpoint", "cli", "cli_streams", "confidence",
    "distributed", "evaluate", "evidence", "extending", "folder", "folder_engine", "folder_job",
    "folder_limits", "folder_own", "folder_ray", "folder_remote", "folder_shards",
    "folder_withhold", "gradients", "grounded_captions", "hub",
    "hub_pretrained", "kills", "languages", "makers", "nonphotos", "odd_file_systems", "onnx",
    "onnx_errors", "onnx_search", "packed", "prepare", "pretrained", "pretrained_florence",
    "pretrained_weights", "private_names", "readme", "recipe", "release", "report", "score",
    "serve", "serve_command", "start", "stopping",
    "agreement", "benchmark_pretrained", "benchmarks", "compilation", "ensemble", "logbook",
    "forecast", "photo_plugins", "rehearse", "train", "train_records", "unused", "your_own_data",
}  # fmt: skip
"""Modules whose tests train, start browsers and servers, kill processes or trace networks."""

Toy = tuple[CaptionModel, Header]


def pytest_configure() -> None:
    """Let programs be interrupted: what a shell begins in the background ignores Ctrl-C."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what takes long, so that `-m "not slow"` leaves it out."""
    for item in items:
        if item.path.stem.removeprefix("test_") in SLOW:
            item.add_marker("slow")


@pytest.fixture(params=["torch", "numpy"])
def namespace(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test of search with tensors, and with arrays."""
    monkeypatch.setattr(searching, "NAMESPACE", request.param)


def _transformer(tokenizer: Tokenizer) -> Toy:
    header = Header(
        name="toy-transformer",
        model=ModelConfig(
            encoder=EncoderConfig(backbone="test_vit"),
            decoder=TransformerConfig(
                width=32, layers=2, heads=2, feedforward_width=64, max_positions=16, tie=False
            ),
        ),
        preprocess=PreprocessConfig(height=160, width=160),
        tokenizer=tokenizer,
        search=SearchConfig(beam=4, max_words=8),
        trained_on={"captions": len(CAPTIONS)},
        scores={"toys": {"BLEU-4": 0.25, "CIDEr": 0.5}},
    )
    return _talkative(header, seed=3), header


def _lstm(tokenizer: Tokenizer) -> Toy:
    header = Header(
        name="toy-lstm",
        model=ModelConfig(
            encoder=EncoderConfig(backbone="test_resnet"),
            decoder=RecurrentConfig(width=32, embedding_dim=16, attention_width=16, tie=False),
        ),
        preprocess=PreprocessConfig(height=96, width=128, fit="letterbox"),
        tokenizer=tokenizer,
        search=SearchConfig(beam=2, max_words=8),
    )
    return _talkative(header, seed=7), header


def _talkative(header: Header, *, seed: int) -> CaptionModel:
    """A model whose random weights are large enough that the photo decides the words."""
    tokenizer = header.tokenizer
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build_model(header.model, preprocess=header.preprocess, words=len(tokenizer))
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            if parameter.dim() > 1:
                parameter.mul_(3)
        model.decoder.words.bias[tokenizer.encode("dog's")[1]] += 2  # 's, joined to other words
        model.decoder.words.bias[tokenizer.end_id] += 1.5
    return model.eval()


TOYS: dict[str, Callable[[Tokenizer], Toy]] = {"transformer": _transformer, "lstm": _lstm}


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """21 ids; 's and n't are tokens that readers see as the end of another word."""
    return Tokenizer.train_words(CAPTIONS, min_count=1)


@pytest.fixture(scope="session")
def whole_words() -> Tokenizer:
    """Word-level, of English."""
    return Tokenizer.train_words(ENGLISH, min_count=1)


@pytest.fixture(scope="session")
def pieces() -> Tokenizer:
    """Byte-pair encoding, of many languages."""
    return Tokenizer.train_bpe(MANY_TONGUES * 3, vocabulary=340)


@pytest.fixture(params=list(TOYS))
def toy(request: pytest.FixtureRequest, tokenizer: Tokenizer) -> Toy:
    """A small model and its header; every test of it runs for both decoders."""
    return TOYS[request.param](tokenizer)


@pytest.fixture(scope="session")
def checkpoints(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of both toys in full precision, by kind of decoder."""
    folder = tmp_path_factory.mktemp("checkpoints")
    files = {kind: folder / kind / "model.safetensors" for kind in TOYS}
    for kind, make in TOYS.items():
        model, header = make(tokenizer)
        save_checkpoint(files[kind], model, header, half=False)
    return files


@pytest.fixture(params=list(TOYS))
def checkpoint(request: pytest.FixtureRequest, checkpoints: dict[str, Path]) -> Path:
    """File of a toy; every test of it runs for both decoders."""
    return checkpoints[request.param]


@pytest.fixture(scope="session")
def exports(checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory):
    """Folders of both toys' exports to ONNX, by kind of decoder."""
    from captioner.onnx.export import TOLERANCE
    from tests.exported import traced

    folder = tmp_path_factory.mktemp("exports")
    for kind, checkpoint in checkpoints.items():
        assert traced(checkpoint, folder / kind) <= TOLERANCE
    return {kind: folder / kind for kind in checkpoints}


@pytest.fixture
def spare(exports, monkeypatch):
    """Trace nothing again: `spare(kind)` lets an export take the graphs there are."""
    from captioner.onnx.files import read_export

    def take(kind):
        def copy(model, folder, *, header, weights):
            export = read_export(exports[kind])
            for name in export.borrowed:
                shutil.copy(exports[kind] / name, folder / name)
            return replace(export, header=header)

        monkeypatch.setattr("captioner.onnx.export.write_graphs", copy)

    return take


@pytest.fixture(params=list(TOYS))
def kind(request: pytest.FixtureRequest) -> str:
    """Kind of a toy's decoder; every test of it runs for both."""
    return request.param


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four photos of different sizes, shapes and kinds."""
    folder = tmp_path_factory.mktemp("photos")
    pictures = {
        "flag.png": quarters(),
        "strip.jpg": noise(60, 200, seed=1),
        "tower.png": quarters(300, 40),
        "large.jpg": noise(500, 400, seed=2),
    }
    for name, picture in pictures.items():
        picture.save(folder / name)
    return [folder / name for name in pictures]


@pytest.fixture
def folder(tmp_path, photos):
    """Four photos, one of them in a folder of its own."""
    place = tmp_path / "photos"
    (place / "more").mkdir(parents=True)
    for photo in photos[:3]:
        shutil.copy(photo, place)
    shutil.copy(photos[3], place / "more")
    return place


@pytest.fixture
def command(checkpoints, capfd):
    """Run `captioner folder` in this process: exit status, lines on stdout, lines on stderr."""

    def run(*arguments: object) -> tuple[int, list[str], list[str]]:
        try:
            model = ("--checkpoint", str(checkpoints["lstm"]), "--precision", "float32")
            status = main(["folder", *map(str, arguments), *model])
        except SystemExit as end:  # argparse
            status = end.code
        out, err = capfd.readouterr()
        return status, out.splitlines(), err.splitlines()

    return run


@pytest.fixture(scope="module")
def together(place: Path) -> Iterator["Together"]:
    """Runs training in the module's `place`, by processes that can be killed."""
    from tests.together import Together

    running = Together(place)
    yield running
    running.close()


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, str], Path]]:
    """Addresses of the apps that `tests.serving` serves, and the folder that frees the slow one."""
    folder = tmp_path_factory.mktemp("served")
    environment = {
        k: v for k, v in os.environ.items() if not k.startswith(("GRADIO_", "CAPTIONER_"))
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.serving", folder],
        cwd=Path(__file__).parent.parent,
        env={**environment, "GRADIO_TEMP_DIR": str(folder / "uploads")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        yield json.loads(process.stdout.readline()), folder
        process.stdin.close()
        process.stdout.close()


@pytest.fixture
def slow(served: tuple[dict[str, str], Path]) -> Iterator[tuple[str, Path]]:
    """Address of the slow app, and the folder where it says that it started; freed in the end."""
    urls, folder = served
    for sign in ("started", "go"):
        (folder / sign).unlink(missing_ok=True)
    yield urls["slow"], folder
    (folder / "go").touch()


@pytest.fixture(scope="module")  # while it runs, asyncio takes this thread for one of its own
def browser() -> "Iterator[Browser]":
    """Chromium without a window."""
    from playwright.sync_api import sync_playwright

    from tests.browsing import CHROMIUM, PATIENCE

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--use-fake-device-for-media-stream"],  # for who may use one
            timeout=PATIENCE,
        )
        yield browser
        browser.close()


@pytest.fixture
def url(served: tuple[dict[str, str], Path]) -> str:
    """Address of the app with the toys."""
    return served[0]["toys"]


@pytest.fixture
def page(browser: "Browser", url: str) -> "Iterator[Page]":
    """A page of that app."""
    from tests.browsing import opened

    yield from opened(browser, url)
