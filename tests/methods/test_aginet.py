"""AGI-Net: wiring by arguments alone."""

import pytest
import torch

from transmodal import registry
from transmodal.data.batch import Batch
from transmodal.data.task import Task
from transmodal.errors import RecipeError
from transmodal.nn.cagr import RolledConv, Router
from transmodal.nn.resunet import ResUNet

TASK = Task(sources=("T1w", "T2w"), targets=("PDw",))
SMALL = {"width": 8, "depth": 2, "critic_width": 4, "critic_layers": 1}


def build(**arguments):
    torch.manual_seed(0)
    return registry.build("aginet", TASK, SMALL | arguments)


def batch():
    source = torch.rand(2, 2, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    ones = torch.ones(2, 1, 16, 16, dtype=torch.bool)
    return Batch(source, ones[:, :, 0, 0].expand(-1, 2), ones, torch.zeros(2, 3, 2), 2, target=-source[:, :1])


def rolled(method):
    return [name for name, module in method.generator.named_modules() if isinstance(module, RolledConv)]


def test_every_convolution_of_the_blocks_is_replaced_by_default():
    names = rolled(build())
    assert len(names) == 2 * (2 + 1 + 2)
    assert all(name.endswith((".first", ".second")) for name in names)
    assert build().replaced == tuple(names)


@pytest.mark.parametrize(("part", "number"), [("encoder", 4), ("bottleneck", 2), ("decoder", 4), ("none", 0)])
def test_replacement_sets(part, number):
    names = rolled(build(replace=part))
    assert len(names) == number
    assert all(name.startswith(part) for name in names)


def test_replacing_nothing_is_the_plain_backbone_bit_for_bit():
    method = build(replace="none")
    torch.manual_seed(0)
    plain = ResUNet(2, 1, depth=2, width=8)
    for key, value in plain.state_dict().items():
        assert torch.equal(value, method.generator.state_dict()[key])
    assert torch.equal(plain(batch().source), method.translate(batch()))


@pytest.mark.parametrize(
    "change",
    [
        {"attention": False},
        {"rolling": False},
        {"scaled": False},
        {"shuffled": False},
        {"groups": 1},
        {"groups": 2},
        {"groups": 8},
        {"roll_mode": "circular"},
        {"roll_mode": "zero"},
        {"group_axis": "out"},
        {"attention_pool": "channel"},
        {"max_offset": 2.0},
        {"path": "kernel"},
        {"gan_weight": 0.0},
        {"backbone": "pix2pix", "depth": 3},
        {"backbone": "resnet"},
    ],
    ids=str,
)
def test_every_ablation_takes_a_step(change):
    method = build(**change)
    before = [p.detach().clone() for p in method.generator.parameters()]
    players = method.players()
    assert set(players) == ({"generator"} if change.get("gan_weight") == 0 else {"generator", "critic"})
    for player, terms in method.objectives(batch()):
        parameters = [p for net in players[player].values() for p in net.parameters()]
        optimiser = torch.optim.Adam(parameters, 1e-3)
        torch.stack(list(terms.values())).sum().backward(inputs=parameters)
        optimiser.step()
    moved = [not torch.equal(a, b) for a, b in zip(before, method.generator.parameters(), strict=True)]
    assert sum(moved) > 0.9 * len(moved)


def test_the_plug_in_rolls_the_generator_of_pix2pix():
    method = registry.build("aginet", TASK, {**SMALL, "backbone": "pix2pix", "depth": 3})
    plain = registry.build("aginet", TASK, {**SMALL, "backbone": "pix2pix", "depth": 3, "replace": "none"})
    assert type(method.generator) is type(plain.generator)
    assert rolled(method) == ["encoders.1.1", "encoders.2.1"]
    assert not rolled(plain)
    both = build(backbone="pix2pix", depth=3, upsample="resize")
    assert rolled(both) == ["encoders.1.1", "encoders.2.1", "decoders.0.1.1", "decoders.1.1.1"]
    assert rolled(build(backbone="pix2pix", depth=4, upsample="resize"))[-1] == "decoders.2.1.1", "the head stays"
    assert method.translate(batch()).shape == plain.translate(batch()).shape


def test_sources_apart_in_the_first_layer_and_a_wider_scale():
    apart = build(modality_stem=True)
    assert apart.generator.stem.groups == 2
    with pytest.raises(RecipeError, match="2 sources cannot have equal shares"):
        build(modality_stem=True, width=9)
    routers = (module for module in build(max_scale=2.0).generator.modules() if isinstance(module, Router))
    router = next(routers).eval()
    torch.nn.init.zeros_(router.scale.weight)
    torch.nn.init.zeros_(router.scale.bias)
    assert torch.equal(router(torch.rand(2, 8, 5, 5))[1], torch.ones(2, 4))


def test_a_path_that_cannot_roll_is_refused_before_training():
    with pytest.raises(RecipeError, match="path = 'planes' cannot roll with roll_mode = 'shift'"):
        build(path="planes")


def test_attention_in_volumes_is_three_wide():
    task = Task(sources=("T1w", "T2w"), targets=("PDw",), spatial=3)
    assert registry.build("aginet", task, SMALL).generator.bottleneck.first.attention.conv.kernel_size == (3, 3, 3)
    assert build().generator.bottleneck.first.attention.conv.kernel_size == (5, 5)


def test_groups_that_a_layer_cannot_have_are_told_while_training():
    assert build(width=16).alarms({}) == []
    assert build(width=16, replace="none", groups=3).alarms({}) == []
    (said,) = build(width=16, groups=3).alarms({})
    assert said.endswith("they have: 1 of 16, 1 of 32, 1 of 64")
    (said,) = build(width=8, groups=8).alarms({})
    assert said.endswith("groups seen: 1 of 8 in layers of 8, 2 of 8 in layers of 16, 4 of 8 in layers of 32")
    assert build(width=8, groups=8, shuffled=False).alarms({}) == []
    (said,) = build(width=16, group_axis="out").alarms({})
    assert said.startswith("instance normalisation cancels the scale")
    assert build(width=16, group_axis="out", norm="batch").alarms({}) == []


def test_parts_of_other_backbones_have_no_name():
    with pytest.raises(RecipeError, match="only the resunet has such a part"):
        build(backbone="resnet", replace="encoder")


def test_weights_of_the_objective():
    torch.manual_seed(0)
    terms = dict(build(l1_weight=1.0, gan_weight=1.0).objectives(batch()))["generator"]
    torch.manual_seed(0)
    heavy = dict(build(l1_weight=100.0, gan_weight=2.0).objectives(batch()))["generator"]
    torch.testing.assert_close(heavy["l1"], 100 * terms["l1"])
    torch.testing.assert_close(heavy["adversarial"], 2 * terms["adversarial"])


def test_no_layer_starts_dead():
    """After one backward pass every router and attention has a gradient; after one step every offset has moved."""
    method = build(width=16, router_dropout=0.0)
    layers = {name: module for name, module in method.generator.named_modules() if isinstance(module, RolledConv)}
    offsets = {}
    for name, layer in layers.items():
        layer.router.register_forward_hook(
            lambda *given, name=name: offsets.setdefault(name, []).append(given[2][0])
        )
    optimiser = torch.optim.Adam(method.generator.parameters(), 1e-3)
    method.generator(batch().source).sub(batch().target).abs().mean().backward()
    for name, layer in layers.items():
        parts = (layer.router.offset, layer.router.scale, layer.router.depthwise, layer.attention.conv)
        for part in parts:
            gradient = part.weight.grad
            assert torch.isfinite(gradient).all(), name
            assert gradient.abs().max() > 0, name
    optimiser.step()
    method.generator(batch().source)
    assert len(offsets) == len(layers)
    assert all((after - before).abs().max() > 0 for before, after in offsets.values())


def test_a_sample_that_ends_as_one_voxel_is_refused_when_built():
    task = Task(sources=("T1w", "T2w"), targets=("PDw",), size=(8, 8))
    with pytest.raises(RecipeError, match="8 x 8 ends as one voxel"):
        registry.build("aginet", task, {"width": 8, "depth": 3})
    registry.build("aginet", task, {"width": 8, "depth": 2})
    registry.build("aginet", task, {"width": 8, "depth": 3, "norm": "batch"})
