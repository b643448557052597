from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn
from torch.testing import assert_close

from captioner.errors import CheckpointError, ConfigError
from captioner.model import Encoder

FAMILIES = {
    "test_resnet": {},
    "test_efficientnet": {},
    "mobilenetv3_small_050": {},
    "test_convnext": {},
    "test_vit": {},
    "deit_tiny_distilled_patch16_224": {"depth": 2, "embed_dim": 24, "num_heads": 2},
    "swin_tiny_patch4_window7_224": {"embed_dim": 12, "depths": (1, 1, 1, 1)},
}
WAYS_OUT = (
    "give the path of a safetensors file of this backbone, or 'none' to begin with random weights."
)
STRIDE = {"test_vit": 16, "deit_tiny_distilled_patch16_224": 16}


def make(backbone: str, *, size=(64, 96), **settings) -> Encoder:
    torch.manual_seed(0)
    return Encoder(backbone, options=FAMILIES.get(backbone), size=size, **settings).eval()


def a_photo(*, size=(64, 96), images=1) -> torch.Tensor:
    return torch.randn(images, 3, *size, generator=torch.Generator().manual_seed(1))


def saved_backbone(folder: Path, backbone: str, **options) -> tuple[nn.Module, Path]:
    """Save a backbone with random weights and batch statistics, classifier included."""
    torch.manual_seed(5)
    model = timm.create_model(backbone, **(FAMILIES.get(backbone, {}) | options)).eval()
    for name, statistics in model.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            statistics.uniform_(0.5, 1.5)
    path = folder / f"{backbone}.safetensors"
    save_file(model.state_dict(), path)
    return model, path


@pytest.mark.parametrize("backbone", FAMILIES)
@pytest.mark.parametrize("size", [(64, 96), (128, 64)])
def test_backbones_of_every_family_see_a_grid_of_regions(backbone, size):
    encoder = make(backbone, size=size)
    stride = STRIDE.get(backbone, 32)
    assert encoder.grid == (size[0] // stride, size[1] // stride)
    with torch.no_grad():
        features = encoder(a_photo(size=size, images=2))
    assert features.shape == (2, encoder.grid[0] * encoder.grid[1], encoder.feature_dim)
    assert features.isfinite().all()


def test_a_class_token_kept_stands_before_the_regions():
    plain, kept = make("test_vit"), make("test_vit", class_token=True)
    kept.load_state_dict(plain.state_dict())
    pixels = a_photo(images=2)
    with torch.no_grad():
        features, whole = kept(pixels), plain.backbone.forward_features(pixels)
        assert_close(features, whole)
        assert_close(features[:, 1:], plain(pixels))
    assert (plain.context, kept.context, kept.grid) == (0, 1, plain.grid)
    assert kept.feature_dim == features.shape[-1]


def test_requesting_a_missing_class_token_is_an_error():
    with pytest.raises(ConfigError) as caught:
        make("test_resnet", class_token=True)
    assert str(caught.value) == "encoder.class_token: 'test_resnet' has none; leave it out."


def test_layer_norms_add_the_eps_asked_for():
    for eps, expected in ((None, 1e-6), (1e-12, 1e-12)):
        norms = [m for m in make("test_vit", eps=eps).modules() if isinstance(m, nn.LayerNorm)]
        assert {norm.eps for norm in norms} == {expected}


@pytest.mark.parametrize("levels", [1, 2])
@pytest.mark.parametrize("backbone", FAMILIES)
def test_a_new_encoder_knows_what_it_will_see_without_having_calculated(
    backbone, levels, monkeypatch
):
    calculated = []
    linear, convolve = F.linear, F.conv2d

    def count(operation):
        def counting(x, *others, **settings):
            if x.device.type != "meta":
                calculated.append(operation)
            return operation(x, *others, **settings)

        return counting

    with monkeypatch.context() as patched:
        patched.setattr(F, "linear", count(linear))
        patched.setattr(F, "conv2d", count(convolve))
        encoder = make(backbone, levels=levels)
        assert calculated == []
    assert all(x.device.type == "cpu" for x in encoder.state_dict().values())
    with torch.no_grad():
        features = encoder(a_photo())
    assert features.shape == (1, encoder.grid[0] * encoder.grid[1], encoder.feature_dim)


def test_a_backbone_that_shapes_alone_do_not_lead_through_sees_a_black_photo(monkeypatch):
    seen = []
    take = timm.models.ResNet.forward_intermediates

    def picky(self, x, **settings):
        seen.append(x.sum().item())  # what no tensor of shapes alone can say
        return take(self, x, **settings)

    monkeypatch.setattr(timm.models.ResNet, "forward_intermediates", picky)
    assert make("test_resnet").grid == (2, 3)
    assert seen == [0.0]


@pytest.mark.parametrize("backbone", ["test_resnet", "test_convnext", "test_vit"])
@pytest.mark.parametrize("place", [(0, 0), (0, 3), (1, 2), (2, 0), (2, 3)])
def test_regions_go_row_by_row_from_the_top_left(backbone, place):
    stride = STRIDE.get(backbone, 32)
    encoder = make(backbone, size=(3 * stride, 4 * stride))
    assert encoder.grid == (3, 4)
    dark = torch.zeros(1, 3, 3 * stride, 4 * stride)
    bright = dark.clone()
    top, left = place[0] * stride, place[1] * stride
    bright[:, :, top : top + stride, left : left + stride] = 3.0
    with torch.no_grad():
        change = (encoder(bright) - encoder(dark)).norm(dim=-1)[0]
    assert divmod(int(change.argmax()), 4) == place


@pytest.mark.parametrize("backbone", FAMILIES)
def test_an_image_is_seen_alike_alone_and_in_a_batch(backbone):
    encoder, photos = make(backbone), a_photo(images=3)
    with torch.no_grad():
        assert_close(encoder(photos[1:2]), encoder(photos)[1:2], rtol=1e-4, atol=1e-5)


def test_batch_norms_keep_their_statistics_while_dropout_and_the_rest_train():
    encoder = Encoder("test_resnet", options={"drop_path_rate": 0.1}, size=(64, 64)).train()
    norms = [m for m in encoder.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert not any(norm.training for norm in norms)
    assert all(m.training for m in encoder.modules() if not isinstance(m, nn.BatchNorm2d))
    before = [norm.running_mean.clone() for norm in norms]
    encoder(a_photo(size=(64, 64), images=2))
    assert_close([norm.running_mean for norm in norms], before, rtol=0, atol=0)
    assert all(norm.weight.requires_grad for norm in norms)
    assert not any(module.training for module in encoder.eval().modules())


def test_a_new_encoder_is_in_evaluation_mode():
    assert not any(module.training for module in Encoder("test_resnet", size=(64, 64)).modules())


def test_the_classifier_is_left_out():
    for backbone in ("test_vit", "test_resnet"):
        names = dict(make(backbone).named_parameters())
        assert not any(".head" in name or ".fc." in name for name in names)


def test_vit_features_from_a_weights_file_are_timms_own(tmp_path):
    theirs, path = saved_backbone(tmp_path, "test_vit", img_size=(64, 96))
    encoder = make("test_vit", weights=path)
    with torch.no_grad():
        tokens = theirs.forward_features(a_photo())
        assert_close(encoder(a_photo()), tokens[:, theirs.num_prefix_tokens :])


def test_cnn_features_from_a_weights_file_are_timms_own(tmp_path):
    theirs, path = saved_backbone(tmp_path, "test_resnet")
    encoder = make("test_resnet", weights=path)
    with torch.no_grad():
        feature_map = theirs.forward_features(a_photo())  # (1, D, 2, 3)
        by_row = [feature_map[:, :, i, j] for i in range(2) for j in range(3)]
        assert_close(encoder(a_photo()), torch.stack(by_row, dim=1))


def test_swin_features_from_a_weights_file_are_timms_own(tmp_path):
    backbone = "swin_tiny_patch4_window7_224"
    theirs, path = saved_backbone(tmp_path, backbone, img_size=(64, 96))
    encoder = make(backbone, weights=path)
    with torch.no_grad():
        feature_map = theirs.forward_features(a_photo())  # (1, 2, 3, D)
        assert_close(encoder(a_photo()), feature_map.flatten(1, 2))


def test_position_vectors_are_resampled_to_another_input_size(tmp_path):
    trained, path = saved_backbone(tmp_path, "test_vit", img_size=(160, 160))
    encoder = make("test_vit", weights=path)
    assert trained.pos_embed.shape == (1, 1 + 10 * 10, 64)
    assert encoder.backbone.pos_embed.shape == (1, 1 + 4 * 6, 64)
    theirs = timm.create_model(
        "test_vit", img_size=(64, 96), pretrained=True, pretrained_cfg_overlay={"file": str(path)}
    ).eval()
    with torch.no_grad():
        tokens = theirs.forward_features(a_photo())
        assert_close(encoder(a_photo()), tokens[:, theirs.num_prefix_tokens :])


@pytest.mark.parametrize("backbone", FAMILIES)
def test_every_tensor_of_a_weights_file_arrives(backbone, tmp_path):
    fitting = {"img_size": (64, 96)} if timm.get_pretrained_cfg(backbone).fixed_input_size else {}
    theirs, path = saved_backbone(tmp_path, backbone, **fitting)
    stored = theirs.state_dict()
    for name, tensor in make(backbone, weights=path).backbone.state_dict().items():
        assert_close(tensor, stored[name], rtol=0, atol=0)


def test_an_unknown_option_is_refused():
    with pytest.raises(ConfigError) as refused:
        Encoder("test_vit", options={"dephts": 2}, size=(64, 64))
    assert str(refused.value) == (
        "encoder.options for 'test_vit': VisionTransformer.__init__() got an unexpected keyword "
        "argument 'dephts'"
    )


def test_a_missing_weights_file_is_named(tmp_path):
    path = tmp_path / "none.safetensors"
    with pytest.raises(CheckpointError) as refused:
        make("test_vit", weights=path)
    assert str(refused.value) == f"{path}: no such file of encoder weights; {WAYS_OUT}"


def test_an_unheard_of_backbone_is_refused():
    with pytest.raises(ConfigError) as refused:
        Encoder("qqqq")
    assert str(refused.value) == (
        "encoder.backbone 'qqqq' is not a timm model; see timm.list_models()."
    )


def test_a_misspelt_backbone_gets_suggestions():
    with pytest.raises(ConfigError) as refused:
        Encoder("vit_tini_patch16_224")
    message = str(refused.value)
    assert message.startswith(
        "encoder.backbone 'vit_tini_patch16_224' is not a timm model; "
        "did you mean vit_tiny_patch16_224 or "
    )


@pytest.mark.parametrize("content", [b"", b"junk" * 100], ids=["empty", "junk"])
def test_a_corrupt_weights_file_is_named(content, tmp_path):
    path = tmp_path / "corrupt.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as refused:
        make("test_vit", weights=path)
    assert str(refused.value).startswith(f"{path}: not a safetensors file: ")
    assert str(refused.value).endswith(f"; {WAYS_OUT}")


def test_pickled_weights_are_refused(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(timm.create_model("test_vit").state_dict(), path)
    with pytest.raises(CheckpointError, match=r"weights\.pth: not a safetensors file: "):
        make("test_vit", weights=path)


def test_weights_of_another_backbone_are_refused_rather_than_left_random(tmp_path):
    _, path = saved_backbone(tmp_path, "test_resnet")
    with pytest.raises(CheckpointError) as refused:
        make("test_vit", weights=path)
    message = str(refused.value)
    assert message.startswith(f"{path}: no weights of 'test_vit': ")
    assert 'Missing key(s) in state_dict: "cls_token"' in message
    assert message.endswith(f"; {WAYS_OUT}")
    assert len(message) < len(str(path)) + 400


def test_weights_that_lack_a_tensor_are_refused(tmp_path):
    model, path = saved_backbone(tmp_path, "test_vit")
    state = model.state_dict()
    del state["blocks.0.mlp.fc1.weight"]
    save_file(state, path)
    with pytest.raises(CheckpointError, match=r"Missing key.*blocks\.0\.mlp\.fc1\.weight"):
        make("test_vit", weights=path)


def test_weights_are_not_kept_a_second_time(tmp_path):
    _, path = saved_backbone(tmp_path, "test_vit")
    assert "state_dict" not in make("test_vit", weights=path).backbone.pretrained_cfg


@pytest.mark.parametrize("backbone", ["test_resnet", "test_efficientnet", "test_convnext"])
def test_a_size_that_the_regions_of_a_cnn_do_not_tile_is_refused(backbone):
    with pytest.raises(ConfigError) as refused:
        Encoder(backbone, size=(64, 100))
    assert str(refused.value) == (
        f"backbone {backbone!r} sees regions of 32x32 pixels, and 64x100 photos do not divide into "
        "them; choose multiples."
    )


def test_finer_regions_allow_finer_sizes():
    encoder = Encoder("test_resnet", options={"output_stride": 16}, size=(64, 80))
    assert encoder.grid == (4, 5)


def test_a_size_that_would_leave_an_edge_of_the_photo_unseen_is_refused():
    with pytest.raises(ConfigError) as refused:
        Encoder("test_vit", size=(100, 64))
    assert str(refused.value) == (
        "backbone 'test_vit' reads patches of 16x16 pixels, and 100x64 photos do not divide into "
        "them; choose multiples."
    )


@pytest.mark.parametrize("backbone", ["test_resnet", "test_efficientnet", "test_convnext"])
def test_two_levels_of_a_cnn_have_the_grid_of_the_finer_one(backbone):
    encoder = make(backbone, size=(64, 96), levels=2)
    assert encoder.grid == (4, 6)
    with torch.no_grad():
        maps = encoder.backbone.forward_intermediates(
            a_photo(), indices=2, output_fmt="NCHW", intermediates_only=True
        )
        features = encoder(a_photo())
    fine, coarse = maps
    assert features.shape == (1, 24, fine.shape[1] + coarse.shape[1])
    mean, deviation = fine.mean(dim=1), fine.std(dim=1, correction=0)
    standard = (fine - mean) / (deviation**2 + 1e-5).sqrt()
    assert_close(features[..., : fine.shape[1]], standard.flatten(2).transpose(1, 2))


def test_two_levels_of_a_vit_are_its_last_two_blocks():
    encoder = make("test_vit", levels=2)
    assert encoder.grid == (4, 6)
    assert encoder.feature_dim == 2 * make("test_vit").feature_dim


@pytest.mark.parametrize("place", [(0, 0), (1, 2), (3, 1), (3, 5)])
def test_regions_of_several_levels_stay_in_their_places(place):
    encoder = make("test_resnet", size=(64, 96), levels=2)
    dark = torch.zeros(1, 3, 64, 96)
    bright = dark.clone()
    top, left = place[0] * 16, place[1] * 16
    bright[:, :, top : top + 16, left : left + 16] = 3.0
    fine = slice(0, encoder.backbone.feature_info[-2]["num_chs"])
    with torch.no_grad():
        change = (encoder(bright) - encoder(dark))[..., fine].norm(dim=-1)[0]
    assert divmod(int(change.argmax()), 6) == place


def test_more_levels_than_there_are_are_refused():
    with pytest.raises(ConfigError, match=r"encoder.levels is 99, but 'test_resnet' has \d"):
        make("test_resnet", levels=99)
