"""SAM through the real loading code: tiny files in the official layouts, against transformers' own forward."""

import hashlib
import re
import sys

import pytest
import torch
import transformers
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from transmodal.errors import InputError, RecipeError
from transmodal.nn import pretrained
from transmodal.nn.encoder import ConvPyramid, Encoder, PretrainedEncoder, tap_of
from transmodal.nn.pretrained import Pretrained, frozen_networks, load_as_before, origins
from transmodal.nn.sam import NAMES, sam


def tiny_network(size=128):
    """transformers' own model of the tiny configuration, with positions that are not zero."""
    torch.manual_seed(0)
    network = transformers.SamVisionModel(
        transformers.SamVisionConfig(
            hidden_size=48, num_hidden_layers=4, num_attention_heads=4, output_channels=32, image_size=size,
            window_size=3, global_attn_indexes=[1, 3], initializer_range=0.02,
        )
    ).eval()  # fmt: skip
    for name, parameter in network.named_parameters():
        if "pos" in name:
            nn.init.normal_(parameter, std=0.1)
    return network


def official(state):
    """Keys of transformers → those of ``sam_vit_*.pth``, written out anew."""
    changed = {}
    for key, value in state.items():
        key = key.replace("vision_encoder.", "image_encoder.").replace(".layers.", ".blocks.")
        key = re.sub(r"blocks\.(\d+)\.layer_norm(\d)", r"blocks.\1.norm\2", key)
        for ours, theirs in (
            ("neck.conv1", "neck.0"), ("neck.layer_norm1", "neck.1"), ("neck.conv2", "neck.2"),
            ("neck.layer_norm2", "neck.3"), ("patch_embed.projection", "patch_embed.proj"),
        ):  # fmt: skip
            key = key.replace(ours, theirs)
        changed[key] = value
    return {**changed, "prompt_encoder.not_a_point_embed.weight": torch.zeros(1, 32)}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """layout → (network, path)."""
    folder, network = tmp_path_factory.mktemp("sam"), tiny_network()
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    save_file({**state, "mask_decoder.iou_token.weight": torch.zeros(1, 32)}, folder / "model.safetensors")
    torch.save(official(state), folder / "sam_tiny.pth")
    return network, {"hub": folder / "model.safetensors", "official": folder / "sam_tiny.pth"}


def encoder(path, size=128, taps="blocks", **more):
    made = PretrainedEncoder(sam("sam_tiny", taps), size=size, weights=str(path), **more)
    made.load_weights()
    return made


def image(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize("layout", ["hub", "official"])
def test_features_equal_those_of_transformers(files, layout):
    network, path = files[0], files[1][layout]
    x = image(2, 1, 128, 128)
    mean, sd = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    pixels = (((x + 1) / 2 * 255).expand(-1, 3, -1, -1) - mean.view(3, 1, 1)) / sd.view(3, 1, 1)
    with torch.no_grad():
        out = network(pixels, output_hidden_states=True)
    assert len(out.hidden_states) == 5
    # Entry 0 is the embedding, so block i is entry i + 1; channels come last.
    wanted = [out.hidden_states[2].permute(0, 3, 1, 2), out.hidden_states[4].permute(0, 3, 1, 2)]
    made = encoder(path)(x)
    for (values, stride), expected in zip(made, wanted, strict=True):
        assert stride == 16
        assert expected.abs().max() > 0.1, "features that are dead would prove nothing"
        torch.testing.assert_close(values, expected, rtol=1e-4, atol=1e-5)
    ((neck, _),) = encoder(path, taps="neck")(x)
    torch.testing.assert_close(neck, out.last_hidden_state, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [64, 96, 192])
def test_positions_fit_any_size(files, size):
    """The grid is resampled; relative tables, which transformers resamples as it runs, give the same bits."""
    network, paths = files
    state = network.state_dict()
    grid = state["vision_encoder.pos_embed"].permute(0, 3, 1, 2)
    side = size // 16
    grid = F.interpolate(grid, (side, side), mode="bicubic", antialias=True).permute(0, 2, 3, 1)
    reference = tiny_network(size)
    # The tables of relative positions are left as long as they are in the file.
    for name, module in reference.named_modules():
        if hasattr(module, "rel_pos_h"):
            for axis in "hw":
                module.register_parameter(f"rel_pos_{axis}", nn.Parameter(state[f"{name}.rel_pos_{axis}"]))
    reference.load_state_dict({**state, "vision_encoder.pos_embed": grid})
    made = encoder(paths["hub"], size)
    x = image(1, 3, size, size)
    with torch.no_grad():
        expected = reference(made.pixels(x), output_hidden_states=True).hidden_states
    for (values, stride), block in zip(made(x), (1, 3), strict=True):
        assert values.shape[-1] == side
        assert stride == 16
        torch.testing.assert_close(values, expected[block + 1].permute(0, 3, 1, 2), rtol=1e-5, atol=1e-6)


def test_a_slice_of_any_shape_is_made_square_and_not_stretched(files):
    made = encoder(files[1]["hub"])
    x = image(1, 1, 64, 96)
    square = F.pad(x, (0, 0, 0, 32), value=-1.0)
    for (one, stride), (two, same) in zip(made(x), made(square), strict=True):
        assert torch.equal(one, two)
        assert stride == same == 96 / 8


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_grey_colour_and_several_contrasts(files, channels):
    made, x = encoder(files[1]["hub"]), image(1, channels, 32, 32)
    seen = x if channels in (1, 3) else x.mean(dim=1, keepdim=True)
    assert torch.equal(made(x)[0].values, made(seen.expand(-1, 3, -1, -1))[0].values)


def test_medsam_gets_pixels_between_0_and_1():
    """Not normalised by ImageNet's colours, as SAM's are."""
    with torch.device("meta"):
        one, two = (
            PretrainedEncoder(sam(name), size=64, allow_random=True) for name in ("medsam_vit_b", "sam_vit_b")
        )
    assert (one.mean, one.sd) == ((0.0,) * 3, (1.0,) * 3)
    assert two.mean == (0.485, 0.456, 0.406)
    tiny = PretrainedEncoder(sam("sam_tiny"), size=32, allow_random=True)
    tiny.mean_, tiny.sd_ = torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1)
    x = image(1, 1, 32, 32)
    torch.testing.assert_close(tiny.pixels(x), ((x + 1) / 2).expand(-1, 3, -1, -1))


COUNTS = {
    "sam_vit_b": 89.67, "medsam_vit_b": 89.67, "sam_vit_l": 308.28, "sam_vit_h": 637.03, "sam_tiny": 0.165,
    "sam2_hiera_tiny": 26.9, "sam2_hiera_small": 34.0, "sam2_hiera_base_plus": 68.7, "sam2_hiera_large": 212,
}  # fmt: skip
"""Millions of parameters of the published networks at their native size, the neck included."""


@pytest.mark.parametrize("name", NAMES)
def test_sizes_of_the_published_networks(name):
    backbone = sam(name, "neck")
    with torch.device("meta"):
        network = backbone.build(backbone.native_size)
        maps = backbone.maps(network, torch.zeros(1, 3, 256, 256) if "hiera" in name else pixels(backbone))
    count = sum(p.numel() for p in network.parameters()) / 1e6
    assert count == pytest.approx(COUNTS[name], rel=3e-3)
    assert tuple(m.shape[1] for m in maps) == backbone.channels
    if "hiera" in name:
        assert [m.shape[-1] for m in maps] == [64, 32, 16, 8]


def pixels(backbone):
    return torch.zeros(1, 3, backbone.native_size, backbone.native_size)


def test_hiera_equals_transformers(tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = sam("sam2_hiera_tiny").build(64).eval()
    state = {f"vision_encoder.backbone.{k}": v.contiguous() for k, v in network.state_dict().items()}
    save_file(state, tmp_path / "model.safetensors")
    made = PretrainedEncoder(sam("sam2_hiera_tiny"), size=64, weights=str(tmp_path / "model.safetensors"))
    made.load_weights()
    x = image(1, 1, 32, 32)
    with torch.no_grad():
        expected = network(made.pixels(x)).intermediate_hidden_states
    strides = []
    for (values, stride), wanted in zip(made(x), expected, strict=True):
        torch.testing.assert_close(values, wanted.permute(0, 3, 1, 2))
        strides.append(stride)
    assert strides == [2, 4, 8, 16], "at twice the slice's size: one map for each stage, nothing to resample"


def test_it_is_frozen_and_in_no_checkpoint(files):
    made = encoder(files[1]["hub"])
    holder = nn.Sequential(nn.Conv2d(1, 1, 1), made)
    holder.train()
    assert not any(module.training for module in made.modules())
    assert not any(p.requires_grad for p in made.parameters())
    assert set(holder.state_dict()) == {"0.weight", "0.bias"}
    before = made(image(1, 1, 32, 32))[0].values
    holder.load_state_dict(holder.state_dict())
    assert torch.equal(made(image(1, 1, 32, 32))[0].values, before)
    assert isinstance(made, Pretrained)
    assert frozen_networks(holder) == [made]
    digest = hashlib.sha256(files[1]["hub"].read_bytes()).hexdigest()
    assert made.weights_digest == digest
    assert origins(holder) == [f"sam_tiny: model.safetensors, sha256 {digest}"]


def test_one_that_learns_is_saved_and_needs_no_file_again(files):
    made = encoder(files[1]["hub"], frozen=False)
    made.train()
    assert made.training
    x = image(1, 1, 32, 32)
    made(x)[0].values.sum().backward()
    assert made.network.patch_embed.projection.weight.grad.abs().sum() > 0
    again = PretrainedEncoder(sam("sam_tiny"), size=128, frozen=False)
    with pytest.raises(InputError, match="no weights yet"):
        again(x)
    again.load_state_dict(made.state_dict())
    assert torch.equal(again(x)[0].values, made(x)[0].values)


def test_an_answer_does_not_depend_on_batch_mates(files):
    made, x = encoder(files[1]["hub"]), image(3, 1, 48, 48)
    for number, ((whole, _), (alone, _)) in enumerate(zip(made(x), made(x[1:2]), strict=True)):
        assert torch.equal(whole[1:2], alone), number


def test_random_weights_are_the_same_always_and_alive():
    torch.manual_seed(1)
    one = PretrainedEncoder(sam("sam_tiny"), allow_random=True)
    drawn = torch.rand(1)
    two = PretrainedEncoder(sam("sam_tiny"), allow_random=True)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(1)), "the numbers of other networks stay"
    x = image(1, 1, 32, 32)
    assert torch.equal(one(x)[0].values, two(x)[0].values)
    assert one(x)[0].values.std() > 0.01
    assert one(x)[0].values.std(dim=(2, 3)).max() > 1e-3, "they tell places apart"
    assert "RANDOM" in one.origin
    assert one.weights_digest == ""


def test_without_a_file_nothing_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSMODAL_CACHE", str(tmp_path))
    monkeypatch.setattr(pretrained, "_in_hub", lambda repository: None)
    with torch.device("meta"):
        made = PretrainedEncoder(sam("sam_vit_b"), size=64)
    with pytest.raises(InputError, match=r"sam_vit_b_01ec64\.pth: the weights 'sam-vit-b' are not there"):
        made.find_weights()
    with torch.device("meta"):
        assert PretrainedEncoder(sam("sam_vit_b"), size=64, allow_random=True).find_weights() is None
    tiny = PretrainedEncoder(sam("sam_tiny"))
    with pytest.raises(InputError, match="no published weights"):
        tiny.find_weights()
    with pytest.raises(InputError, match="no weights yet"):
        tiny(image(1, 1, 32, 32))


def test_it_is_measured_without_weights():
    with torch.device("meta"):
        made = PretrainedEncoder(sam("sam_vit_b", "neck"), size=512)
        ((values, stride),) = made(torch.zeros(1, 1, 256, 256))
    assert values.shape == (1, 256, 32, 32)
    assert stride == 8


def test_a_file_of_something_else_is_refused(files, tmp_path):
    save_file({"features.0.weight": torch.zeros(2)}, tmp_path / "vgg.safetensors")
    with pytest.raises(InputError, match=r"has no image_encoder\.pos_embed .* not the weights of sam_tiny"):
        encoder(tmp_path / "vgg.safetensors")
    state = files[0].state_dict()
    state.pop("vision_encoder.layers.3.mlp.lin1.weight")
    save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / "less.safetensors")
    with pytest.raises(InputError, match=r"layers\.3\.mlp\.lin1\.weight should be \[192, 48\], but is missing"):
        encoder(tmp_path / "less.safetensors")
    with pytest.raises(InputError, match="abc… is expected"):
        encoder(files[1]["hub"], sha256="abc")


def changed(files, tmp_path, key, value):
    state = {name: tensor.contiguous() for name, tensor in files[0].state_dict().items()}
    save_file({**state, key: value}, tmp_path / "changed.safetensors")
    return tmp_path / "changed.safetensors"


def test_tables_of_blocks_with_windows_are_not_resampled(files, tmp_path):
    """Only blocks with global attention grow with the image; another window is another network."""
    path = changed(files, tmp_path, "vision_encoder.layers.0.attn.rel_pos_h", torch.zeros(27, 12))
    says = r"changed\.safetensors: layers\.0\.attn\.rel_pos_h should be \[5, 12\], but is \[27, 12\]"
    with pytest.raises(InputError, match=says):
        encoder(path)
    encoder(changed(files, tmp_path, "vision_encoder.layers.1.attn.rel_pos_h", torch.zeros(27, 12)))


@pytest.mark.parametrize("key", ["pos_embed", "layers.0.mlp.lin1.weight", "layers.3.attn.rel_pos_w"])
def test_weights_are_numbers(files, tmp_path, key):
    value = files[0].state_dict()[f"vision_encoder.{key}"]
    for size in (128, 64):
        with pytest.raises(InputError, match=rf"changed\.safetensors: {key} holds torch\.int32"):
            encoder(changed(files, tmp_path, f"vision_encoder.{key}", value.int().contiguous()), size)
        broken = value.clone()
        broken.view(-1)[3] = float("inf")
        with pytest.raises(InputError, match=rf"changed\.safetensors: {key} holds NaN or infinite values"):
            encoder(changed(files, tmp_path, f"vision_encoder.{key}", broken), size)


def test_other_random_weights_than_those_of_a_training_are_refused():
    """A digest of what was drawn; what earlier versions wrote has none and loads as it did."""
    before = PretrainedEncoder(sam("sam_tiny"), size=64, allow_random=True)
    old = [before.origin]
    assert "sha256" not in old[0]
    before.load_weights()
    said, other = [before.origin], PretrainedEncoder(sam("sam_tiny"), size=64, allow_random=True)
    assert said[0].startswith(old[0])
    load_as_before([other], said)
    load_as_before([other], old)
    with torch.no_grad():
        other.network.layers[0].mlp.lin1.weight.mul_(1.5)
    load_as_before([other], old)
    with pytest.raises(InputError, match=r"trained with other weights .* the same versions of packages"):
        load_as_before([other], said)


def test_the_published_digest_is_demanded(tmp_path):
    torch.save({}, tmp_path / "sam_vit_b_01ec64.pth")
    with torch.device("meta"):
        made = PretrainedEncoder(sam("sam_vit_b"), size=64, weights=str(tmp_path / "sam_vit_b_01ec64.pth"))
    with pytest.raises(InputError, match="ec2df627"):
        made.load_weights()


def test_the_cache_of_hugging_face_is_looked_in(tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSMODAL_CACHE", str(tmp_path / "own"))
    import huggingface_hub

    place = tmp_path / "hub" / "model.safetensors"
    place.parent.mkdir()
    place.write_bytes(b"x")
    asked = []

    def look(repository, file):
        asked.append((repository, file))
        return str(place)

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", look)
    assert pretrained.find("sam-vit-b") == place
    assert asked == [("facebook/sam-vit-base", "model.safetensors")]


def test_a_model_that_moved_finds_its_file_in_the_cache_by_name_and_digest(files, tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSMODAL_CACHE", str(tmp_path))
    own = tmp_path / "weights" / "model.safetensors"
    own.parent.mkdir()
    own.write_bytes(files[1]["hub"].read_bytes())
    made = PretrainedEncoder(sam("sam_tiny"), weights="/elsewhere/model.safetensors")
    digest = hashlib.sha256(own.read_bytes()).hexdigest()
    load_as_before([made], [f"sam_tiny: sam.safetensors, sha256 {digest}"])
    with pytest.raises(InputError, match="trained with other weights"):
        load_as_before([made], ["sam_tiny: model.safetensors, sha256 0123"])


def test_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(RecipeError, match=r"transmodal\[sam\]"):
        PretrainedEncoder(sam("sam_tiny"), allow_random=True)


def test_sizes_are_multiples_of_a_patch():
    for size in (100, -128):
        with pytest.raises(ValueError, match=f"encoder_size = {size}: .* multiple of 16"):
            PretrainedEncoder(sam("sam_tiny"), size=size, allow_random=True)


def test_features_are_float32_under_mixed_precision(files):
    made, x = encoder(files[1]["hub"]), image(1, 1, 32, 32)
    exact = made(x)[0].values
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(made(x)[0].values, exact)


def test_the_pyramid_has_the_same_interface():
    pyramid = ConvPyramid(2, width=4)
    maps = pyramid(image(1, 2, 32, 48))
    assert [tuple(m.values.shape[1:]) for m in maps] == [(4, 16, 24), (8, 8, 12), (16, 4, 6), (32, 2, 3)]
    assert [m.stride for m in maps] == [2, 4, 8, 16]
    assert tuple(m.values.shape[1] for m in maps) == pyramid.channels
    assert isinstance(pyramid, Encoder)
    assert isinstance(PretrainedEncoder(sam("sam_tiny"), allow_random=True), Encoder)
    assert not isinstance(nn.Identity(), Encoder)


def test_which_map_goes_where():
    assert [tap_of(stage, range(4), 4) for stage in range(5)] == [0, 0, 1, 2, 3]
    assert [tap_of(stage, range(1), 4) for stage in range(5)] == [0, 0, 0, 0, 0]
    assert [tap_of(stage, range(2), 4) for stage in range(5)] == [0, 0, 0, 1, 1]


def test_a_hiera_that_is_cut_gives_the_same_first_maps():
    whole = PretrainedEncoder(sam("sam2_hiera_tiny"), size=64, allow_random=True)
    cut = PretrainedEncoder(sam("sam2_hiera_tiny"), size=64, allow_random=True)
    cut.cut(2)
    assert cut.channels == whole.channels[:2]
    assert sum(p.numel() for p in cut.parameters()) < 0.2 * sum(p.numel() for p in whole.parameters())
    x = image(1, 1, 64, 64)
    one, other = cut(x), whole(x)
    assert len(one) == 2
    assert all(torch.equal(a.values, b.values) for a, b in zip(one, other, strict=False))
