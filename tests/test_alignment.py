"""From a file to the pixel that shows brightest: what the model looked at is what lights up."""

import numpy as np
import pytest
import torch
from PIL import Image

from captioner.checkpoint.header import Header
from captioner.config import EncoderConfig, ModelConfig, PreprocessConfig, SearchConfig
from captioner.decoders import RecurrentConfig
from captioner.model import CaptionModel, Decoder, DecoderOutput, DecoderState, Encoder
from captioner.overlay import spread
from captioner.pytorch import TorchCaptioner
from tests.photos import TURNS, turned

SWIN = {"embed_dim": 12, "depths": (1, 1, 1, 1)}
ENCODERS = {  # backbone, options, input size, grid
    "cnn": ("test_resnet", {}, (224, 224), (7, 7)),
    "wide": ("test_convnext", {}, (96, 160), (3, 5)),
    "vit": ("test_vit", {}, (224, 224), (14, 14)),
    "hierarchical": ("swin_tiny_patch4_window7_224", SWIN, (224, 224), (7, 7)),
}
SIZES = [(333, 517), (517, 333), (97, 611), (301, 299), (427, 640), (223, 225), (611, 97), (75, 51)]


class Startled(Decoder):
    """Says "dog", having looked where the photo differs most from a black one."""

    def __init__(self, encoder, tokenizer, black):
        super().__init__()
        self.says = (tokenizer.encode("dog")[0], tokenizer.end_id)
        self.words = len(tokenizer)
        with torch.no_grad():
            self.usual = encoder(black)

    def init_state(self, features):
        return DecoderState(memory=(features,), past=(torch.zeros(len(features), 1, 0),))

    def step_with_attention(self, words, state):
        (features,), (read,) = state.memory, state.past
        logits = torch.zeros(*words.shape, 1, self.words)
        logits[..., self.says[min(read.shape[2], 1)]] = 20.0
        grown = torch.cat([read, words[..., None].float()], dim=2)
        change = (features - self.usual).norm(dim=-1)
        weights = (20 * change / change.amax(dim=-1, keepdim=True)).softmax(dim=-1)
        attention = weights[:, None, None, None, None].expand(*words.shape, 1, 1, 1, -1)
        return DecoderOutput(logits, attention), DecoderState(memory=state.memory, past=(grown,))


def captioner(kind, fit, tokenizer):
    backbone, options, (height, width), grid = ENCODERS[kind]
    torch.manual_seed(0)
    encoder = Encoder(backbone, options=options, size=(height, width))
    assert encoder.grid == grid
    config = PreprocessConfig(height=height, width=width, fit=fit, mean=(0.0,) * 3, std=(1.0,) * 3)
    header = Header(
        name="startled",
        model=ModelConfig(
            encoder=EncoderConfig(backbone=backbone, options=options), decoder=RecurrentConfig()
        ),
        preprocess=config,
        tokenizer=tokenizer,
        search=SearchConfig(method="greedy", max_words=4),
    )
    decoder = Startled(encoder, tokenizer, torch.zeros(1, 3, height, width))
    return TorchCaptioner(CaptionModel(encoder, decoder), header)


def region_on_photo(kind, fit, size, row, col):
    """Pixel edges (left, top, right, bottom) of a region on the photo, from first principles."""
    _, _, (height, width), (gh, gw) = ENCODERS[kind]
    down, across = height / size[0], width / size[1]  # input pixels per photo pixel
    if fit == "letterbox":
        down = across = min(down, across)
    above, before = (height - size[0] * down) / 2, (width - size[1] * across) / 2
    edges = (
        (col * width / gw - before) / across,
        (row * height / gh - above) / down,
        ((col + 1) * width / gw - before) / across,
        ((row + 1) * height / gh - above) / down,
    )
    limits = (size[1], size[0]) * 2
    return tuple(round(min(max(edge, 0), most)) for edge, most in zip(edges, limits, strict=True))


def planted(kind, fit, size, number):
    """Choose one of the regions that show most of the photo, another one every time."""
    _, _, _, (gh, gw) = ENCODERS[kind]
    places = [region_on_photo(kind, fit, size, *divmod(n, gw)) for n in range(gh * gw)]
    areas = [(right - left) * (bottom - top) for left, top, right, bottom in places]
    full = [place for place, area in zip(places, areas, strict=True) if area > 0.9 * max(areas)]
    return full[number * 5 % len(full)]


@pytest.mark.parametrize("fit", ["squash", "letterbox"])
@pytest.mark.parametrize("kind", ENCODERS)
def test_what_stands_out_in_a_photo_lights_up_whatever_its_size_and_orientation(
    kind, fit, tokenizer, tmp_path
):
    assert_lights_up(captioner(kind, fit, tokenizer), kind, fit, tmp_path)


@pytest.mark.parametrize("fit", ["squash", "letterbox"])
def test_what_stands_out_lights_up_where_several_look(fit, tokenizer, tmp_path):
    """Two on a grid of 7 by 7, and one whose other grid is left out."""
    members = [captioner(kind, fit, tokenizer) for kind in ("cnn", "vit", "hierarchical")]
    assert_lights_up(TorchCaptioner.ensemble(members), "cnn", fit, tmp_path)


def assert_lights_up(model, kind, fit, tmp_path):
    for orientation, size in zip(TURNS, SIZES, strict=True):
        left, top, right, bottom = planted(kind, fit, size, orientation)
        shown = Image.new("RGB", (size[1], size[0]))
        shown.paste("white", (left, top, right, bottom))
        path = tmp_path / f"{orientation}.png"
        path.write_bytes(turned(shown, orientation))
        caption = model.caption(path)
        assert caption.text == "Dog"
        for smooth in (False, True):
            weights = spread(caption.words[0].attention, caption.geometry, smooth=smooth)
            assert tuple(weights.shape) == size
            peaks = np.argwhere(np.asarray(weights) >= 0.999 * weights.max().item())
            y, x = peaks.mean(axis=0)
            where = (kind, fit, orientation, smooth)
            assert top <= y < bottom, where
            assert left <= x < right, where
