"""The real client of the hub against a hub on this machine."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import huggingface_hub
import pytest

from captioner.checkpoint.files import DESCRIPTION, GRAPHS, STEP, WEIGHTS, has_graphs
from captioner.checkpoint.header import METADATA_KEY
from captioner.checkpoint.hub.backbones import find_weights
from captioner.checkpoint.hub.card import Facts
from captioner.checkpoint.hub.fetch import Address, download, parse_address
from captioner.checkpoint.hub.push import push
from captioner.checkpoint.shipped import find_checkpoint
from captioner.errors import CaptionerError, CheckpointError, MissingExtraError
from captioner.model.encoder import Encoder
from captioner.pipeline import Captioner
from captioner.pytorch import TorchCaptioner
from tests.hub import TOKEN, Repo, serve
from tests.test_card import card_of
from tests.test_cli import call

# What the client does with its own library.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

ROOT = Path(__file__).parent.parent
VIT_TINY = "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty hub that the client in this process asks, with a cache and a token of its own."""
    with serve() as served:
        constants = huggingface_hub.constants
        listen(monkeypatch, served.address)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield served


@pytest.fixture
def published(hub, checkpoints):
    """The hub with a checkpoint at me/toy."""
    hub.repos["me/toy"] = Repo()
    hub.repos["me/toy"].commit({"model.safetensors": checkpoints["lstm"].read_bytes()})
    return hub


def listen(monkeypatch, address):
    """Let the client, which reads HF_ENDPOINT only once, ask this address."""
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "ENDPOINT", address)
    file = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", file)


def gone(monkeypatch):
    """Take the hub off the network: nothing listens at its address any more."""
    listen(monkeypatch, "http://127.0.0.1:9")


# Down


@pytest.mark.parametrize(
    ("text", "repo", "revision"),
    [
        ("hf:me/toy", "me/toy", None),
        ("hf:me/vit-tiny_2.1", "me/vit-tiny_2.1", None),
        ("hf:me/toy@v1.0", "me/toy", "v1.0"),
        ("hf:me/toy@refs/pr/3", "me/toy", "refs/pr/3"),
    ],
)
def test_an_address_is_a_repository_and_perhaps_a_revision(text, repo, revision):
    assert parse_address(text) == Address(repo=repo, revision=revision)


@pytest.mark.parametrize(
    "text", ["hf:", "hf:toy", "hf:/toy", "hf:me/toy/x", "hf:me/../x", "hf:me/toy@"]
)
def test_a_malformed_address_is_an_error_that_shows_the_format(text):
    with pytest.raises(CheckpointError) as caught:
        find_checkpoint(text)
    assert str(caught.value) == (
        f"{text}: not the address of a checkpoint on the hub; "
        "write hf:OWNER/NAME or hf:OWNER/NAME@REVISION."
    )


def test_a_checkpoint_is_fetched_once_and_then_found_in_the_cache(published, checkpoints, tmp_path):
    path = find_checkpoint("hf:me/toy")
    assert path.is_relative_to(tmp_path / "cache")
    assert path.read_bytes() == checkpoints["lstm"].read_bytes()
    assert find_checkpoint("hf:me/toy") == path
    asked = [request.split()[0] for request in published.requests if "/resolve/" in request]
    # There is neither a config.json nor a graph.
    assert asked == ["HEAD", "HEAD", "GET", "HEAD", "HEAD", "HEAD", "HEAD"]


def test_a_captioner_is_loaded_from_the_hub(published, photos, checkpoints):
    captioner = TorchCaptioner.load("hf:me/toy", device="cpu")
    expected = TorchCaptioner.load(checkpoints["lstm"], device="cpu").caption(photos[0])
    assert captioner.caption(photos[0]).text == expected.text


def test_a_revision_is_taken_as_it_was(published, checkpoints):
    old = next(iter(published.repos["me/toy"].commits))
    published.repos["me/toy"].commit({"model.safetensors": checkpoints["transformer"].read_bytes()})
    newest = find_checkpoint("hf:me/toy")
    assert newest.read_bytes() == checkpoints["transformer"].read_bytes()
    assert find_checkpoint(f"hf:me/toy@{old}").read_bytes() == checkpoints["lstm"].read_bytes()


def test_without_a_network_the_cache_is_taken(published, monkeypatch):
    path = find_checkpoint("hf:me/toy")
    gone(monkeypatch)
    monkeypatch.setattr("time.sleep", pytest.fail)  # which the client does between its tries
    assert find_checkpoint("hf:me/toy") == path
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert find_checkpoint("hf:me/toy") == path


def test_when_the_hub_has_no_weights_of_a_backbone_the_error_has_a_way_out(hub):
    assert find_weights("test_vit") is True  # the hub answers, with 404
    with pytest.raises(CheckpointError) as caught:
        Encoder("test_vit", weights=True)
    message = str(caught.value)
    assert message.startswith("timm's hub: no weights of 'test_vit': 404 Client Error.")
    assert message.endswith(
        "; check the network and the name of the backbone, or give the path of a safetensors file "
        "of this backbone, or 'none' to begin with random weights."
    )


def test_backbone_weights_come_from_the_cache_or_are_an_error_with_a_way_out(hub, monkeypatch):
    name = "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    hub.repos[name] = Repo()
    hub.repos[name].commit({"model.safetensors": b"weights"})
    assert find_weights("vit_tiny_patch16_224") is True  # timm fetches them
    download(Address(repo=name, revision=None), "model.safetensors")
    gone(monkeypatch)
    monkeypatch.setattr("time.sleep", pytest.fail)
    assert find_weights("vit_tiny_patch16_224").read_bytes() == b"weights"
    with pytest.raises(CheckpointError) as caught:
        find_weights("vit_small_patch16_224")
    assert str(caught.value).startswith(
        "encoder_weights is 'hub', but the hub cannot be reached, and its cache lacks "
        "timm/vit_small_patch16_224.augreg_in21k_ft_in1k; check the network"
    )
    assert str(caught.value).endswith(
        ", or give the path of a safetensors file, or 'none' to begin with random weights."
    )


SET = re.compile(r"(?i:.*_proxy)|HF_.*|(SSL|REQUESTS|CURL)_.*")
"""Variables that the client of the hub obeys."""


def problem(text):
    with pytest.raises(CheckpointError) as caught:
        find_checkpoint(text)
    assert str(caught.value).startswith(f"{text}: ")
    return str(caught.value).removeprefix(f"{text}: ")


def test_without_network_and_cache_the_error_names_the_way_out(published, monkeypatch):
    for name in filter(SET.fullmatch, list(os.environ)):
        monkeypatch.delenv(name)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert problem("hf:me/toy") == (
        "not in the cache, and the hub cannot be reached; check the network."
    )


SOCKS = "Using SOCKS proxy, but the 'socksio' package is not installed. Make sure to install httpx"


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("all_proxy", "socks5://127.0.0.1:9", SOCKS),
        ("https_proxy", "nonsense://x", "Unknown scheme for proxy URL"),
        ("HF_ENDPOINT", "", "Request URL is missing an 'http://' or 'https://' protocol"),
        (
            "HF_ENDPOINT",
            "hub.example",
            "Request URL is missing an 'http://' or 'https://' protocol",
        ),
        ("HF_ENDPOINT", "http://[::1", "Invalid IPv6 URL"),
        ("HF_HUB_ETAG_TIMEOUT", "long", "invalid literal for int()"),
        ("SSL_CERT_FILE", "/nowhere.pem", "[Errno 2] No such file or directory"),
    ],
)
def test_a_way_to_the_hub_that_cannot_be_is_named(tmp_path, photos, name, value, reason):
    if reason is SOCKS and find_spec("socksio"):
        pytest.skip("SOCKS is understood here")
    plain = {key: text for key, text in os.environ.items() if not SET.fullmatch(key)}
    done = subprocess.run(
        [sys.executable, "-m", "captioner", "caption", photos[0], "--checkpoint", "hf:me/toy"],
        env=plain | {name: value, "HF_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    error = done.stderr.splitlines()[-1]
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert error.startswith(f"captioner: hf:me/toy: cannot be fetched ({reason}")
    assert error.endswith(f"); check the network and {name}.")


def test_missing_repositories_and_revisions_are_reported(published):
    assert problem("hf:me/nothing") == (
        "no such repository, or a private one; check the name, or `hf auth login`."
    )
    assert problem("hf:me/toy@v9") == (
        "the repository has no revision 'v9'; check it, or leave it out for the newest."
    )
    published.repos["me/toy"].gated = True
    assert "access requires accepting its terms" in problem("hf:me/toy")


def test_a_private_repository_is_for_those_who_log_in(published, monkeypatch):
    published.repos["me/toy"].private = True
    monkeypatch.setenv("HF_TOKEN", "another")
    assert "no such repository, or a private one" in problem("hf:me/toy")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert find_checkpoint("hf:me/toy").is_file()


def test_a_repository_of_another_kind_is_an_error(hub, tmp_path, checkpoints):
    hub.repos["me/other"] = Repo()
    hub.repos["me/other"].commit({"pytorch_model.bin": b"\x80\x04."})
    assert problem("hf:me/other") == (
        "the repository holds neither a config.json of a captioner nor a model.safetensors that "
        "`captioner push` made."
    )
    assert not any("pytorch_model.bin" in request for request in hub.requests)
    hub.repos["me/other"].commit({"model.safetensors": b"\x80\x04."})
    assert problem("hf:me/other").startswith("not a whole safetensors file (")
    stranger = checkpoints["lstm"].read_bytes().replace(METADATA_KEY.encode(), b"strangers", 1)
    hub.repos["me/other"].commit({"model.safetensors": stranger})
    assert problem("hf:me/other").startswith("holds weights, but no captioner header; ")


def test_a_missing_package_is_an_error_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError) as caught:
        find_checkpoint("hf:me/toy")
    assert str(caught.value) == (
        'Access to the hub needs huggingface_hub: pip install "captioner[hub]"'
    )


# Up


def test_what_is_pushed_can_be_fetched(hub, capsys, checkpoints):
    status, lines, _ = call(
        capsys, "push", checkpoints["transformer"], "me/toy", "--license", "mit"
    )
    assert (status, lines) == (0, [f"{hub.address}/me/toy"])
    repo = hub.repos["me/toy"]
    files = list(repo.commits.values())[-1]
    assert sorted(files) == [".gitattributes", "README.md", "model.safetensors"]
    assert files["model.safetensors"] == checkpoints["transformer"].read_bytes()
    assert not repo.private
    assert repo.messages[-1] == "Upload toy-transformer"
    assert find_checkpoint("hf:me/toy").read_bytes() == files["model.safetensors"]

    card = card_of(files["README.md"])
    assert "transformer on test_vit, 0." in card.text
    assert "captioner caption photo.jpg --checkpoint hf:me/toy" in card.text
    assert (card.data.license, card.data.language) == ("mit", None)
    assert (card.data.library_name, card.data.pipeline_tag) == ("captioner", "image-to-text")
    assert card.data.tags == ["image-captioning", "attention", "transformer"]
    found = {r.metric_name: (r.dataset_name, r.metric_value) for r in card.data.eval_results}
    assert found == {"CIDEr": ("toys", 50.0)}


def test_graphs_are_pushed_and_fetched_so_that_torch_is_not_needed(hub, exports, photos):
    push(exports["lstm"] / WEIGHTS, "me/toy", facts=Facts())
    own = Captioner.load("hf:me/toy", runtime="onnx")
    expected = Captioner.load(exports["lstm"], runtime="onnx")
    assert (
        own.caption(photos[0]).to_dict()["words"] == expected.caption(photos[0]).to_dict()["words"]
    )


def test_a_repository_that_lacks_one_graph_counts_as_without_graphs(hub, exports):
    files = {
        name: (exports["lstm"] / name).read_bytes() for name in (WEIGHTS, *GRAPHS, DESCRIPTION)
    }
    del files[STEP]
    hub.repos["me/toy"] = Repo()
    hub.repos["me/toy"].commit(files)
    assert not has_graphs(find_checkpoint("hf:me/toy"))


def test_pushing_again_is_another_commit(hub, capsys, checkpoints):
    for kind in ("transformer", "lstm"):
        assert call(capsys, "push", checkpoints[kind], "me/toy")[0] == 0
    assert hub.repos["me/toy"].messages == [
        "initial commit", "Upload toy-transformer", "Upload toy-lstm",
    ]  # fmt: skip


def test_private_means_private(hub, capsys, checkpoints):
    assert call(capsys, "push", checkpoints["lstm"], "me/secret", "--private")[0] == 0
    assert hub.repos["me/secret"].private
    assert call(capsys, "push", checkpoints["lstm"], "me/secret", "--private")[0] == 0
    hub.repos["me/open"] = Repo()
    hub.repos["me/open"].commit({})
    status, lines, errors = call(capsys, "push", checkpoints["lstm"], "me/open", "--private")
    assert (status, lines) == (2, [])
    assert errors[-1].startswith("captioner: me/open: already exists and is public; nothing was ")
    assert len(hub.repos["me/open"].commits) == 1


def test_a_hub_that_refuses_is_explained(hub, checkpoints, monkeypatch):
    with pytest.raises(CaptionerError, match="theirs/toy: your token has no write access; check"):
        push(checkpoints["lstm"], "theirs/toy", facts=Facts())
    monkeypatch.setenv("HF_TOKEN", "another")
    with pytest.raises(CaptionerError, match="me/toy: not logged in to the hub; run `hf"):
        push(checkpoints["lstm"], "me/toy", facts=Facts())
    assert hub.repos == {}


@pytest.mark.parametrize("repo", ["toy", "me/toy@v1"])
def test_only_a_repository_can_be_pushed_to(hub, capsys, checkpoints, repo):
    status, lines, errors = call(capsys, "push", checkpoints["lstm"], repo)
    assert (status, lines, len(errors)) == (2, [], 1)
    assert hub.requests == []


def test_a_dry_run_writes_what_would_be_pushed_without_network(hub, capsys, checkpoints, tmp_path):
    folder = tmp_path / "new" / "folder"
    status, lines, errors = call(capsys, "push", checkpoints["lstm"], "me/toy", "--dry-run", folder)
    assert (status, lines, errors) == (0, [str(folder)], [])
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "model.safetensors"]
    assert (folder / "model.safetensors").read_bytes() == checkpoints["lstm"].read_bytes()
    assert hub.requests == []
    status, lines, errors = call(capsys, "push", folder, "me/toy", "--dry-run", folder)
    assert (status, errors) == (
        2,
        [f"captioner: {folder}: holds the checkpoint; give another folder."],
    )


# As a user would


def test_the_real_commands_push_fetch_and_work_offline(checkpoints, photos, tmp_path):
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "HF_HOME": str(tmp_path),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_TOKEN": TOKEN,
        "OMP_NUM_THREADS": "1",
    }

    def run(*arguments, **changes):
        command = [sys.executable, "-m", "captioner", *map(str, arguments)]
        done = subprocess.run(
            command, env=environment | changes, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout.splitlines(), done.stderr

    captioning = ("caption", photos[0], "--checkpoint", "hf:me/toy")
    with serve() as hub:
        environment["HF_ENDPOINT"] = hub.address
        status, lines, _ = run("push", checkpoints["lstm"], "me/toy")
        assert (status, lines) == (0, [f"{hub.address}/me/toy"])
        expected = [TorchCaptioner.load(checkpoints["lstm"], device="cpu").caption(photos[0]).text]
        assert run(*captioning)[:2] == (0, expected)
    assert run(*captioning, HF_HUB_OFFLINE="1") == (0, expected, "")
