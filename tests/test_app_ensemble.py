import pytest

from app.ensemble import LazyEnsemble
from captioner import CaptionerError, list_checkpoints
from captioner.pytorch import TorchCaptioner
from tests.conftest import TOYS
from tests.photos import noise
from ui import load_captioners


@pytest.fixture
def member(tokenizer) -> TorchCaptioner:
    return TorchCaptioner(*TOYS["transformer"](tokenizer))


def test_an_ensemble_is_loaded_once_on_first_use(member):
    loaded = []

    def load():
        loaded.append(1)
        return TorchCaptioner.ensemble([member, member])

    together = LazyEnsemble([member, member], load)
    assert together.header.name == "toy-transformer + toy-transformer"
    assert together.header.search == member.header.search
    assert loaded == []
    expected = TorchCaptioner.ensemble([member, member]).caption(noise(50, 60))
    for _ in range(2):
        assert together.caption(noise(50, 60)).text == expected.text
    assert loaded == [1]


def test_incompatible_members_are_reported_on_first_use(member):
    def load():
        raise CaptionerError("they have other words")

    with pytest.raises(CaptionerError, match="they have other words"):
        LazyEnsemble([member, member], load).caption(noise(50, 60))


@pytest.mark.parametrize(("runtime", "more"), [("auto", 1), ("onnx", 0)])
def test_an_ensemble_of_the_shipped_models_is_offered_with_pytorch(runtime, more):
    captioners = load_captioners([], runtime=runtime, device="cpu")
    alone = [info.name for info in list_checkpoints()]
    assert list(captioners) == [*alone, *[" + ".join(alone)] * more]
