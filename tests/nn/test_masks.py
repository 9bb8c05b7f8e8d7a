import itertools

import pytest
import torch
from torch.nn import functional as F

from transmodal.nn.masks import MaskSettings, MaskStack


def stack(**settings):
    torch.manual_seed(0)
    made = MaskStack(8, MaskSettings(**settings))
    for head in made.heads:
        torch.nn.init.normal_(head[-1].weight, std=1.0)
    return made


FEATURES = torch.randn(2, 8, 12, 10, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("per_channel", [False, True])
def test_masks_lie_between_0_and_1(count, per_channel):
    made = stack(count=count, per_channel=per_channel)(FEATURES * 100)
    assert len(made.masks) == len(made.inputs) == count
    for mask in made.masks:
        assert mask.shape == (2, 8 if per_channel else 1, 12, 10)
        assert mask.min() >= 0
        assert mask.max() <= 1
        assert mask.std() > 0.01
    assert made.output.shape == FEATURES.shape


def test_there_are_three_by_default_and_none_is_the_identity():
    assert MaskSettings().count == 3
    assert torch.equal(stack(count=0)(FEATURES).output, FEATURES)


def test_nothing_is_lost_at_the_start():
    torch.manual_seed(0)
    made = MaskStack(64, MaskSettings(refine="none"))(torch.randn(2, 64, 16, 16))
    kept = torch.stack([mask.mean() for mask in made.masks]).prod()
    assert 0.62 < kept < 0.72, "sigmoid(2) = 0.88, three times"


def test_parallel_masks_in_sequence():
    """All from the same features; each laid on what the one before has left."""
    module = stack()
    made = module(FEATURES)
    x = FEATURES
    for k in range(3):
        first, gain, _, last = module.heads[k]
        hidden = F.relu(F.instance_norm(F.conv2d(FEATURES, first.weight, padding=1)))
        assert torch.equal(gain.weight, torch.ones(16))
        mask = torch.sigmoid(F.conv2d(hidden, last.weight, last.bias))
        torch.testing.assert_close(made.masks[k], mask)
        torch.testing.assert_close(made.inputs[k], x)
        y = x * mask
        x = y + F.leaky_relu(F.instance_norm(F.conv2d(y, module.refine[k].layers[0].weight, padding=1)), 0.2)
    torch.testing.assert_close(made.output, x)


@pytest.mark.parametrize("refine", ["none", "conv", "depthwise"])
def test_order_matters_only_with_something_in_between(refine):
    module = stack(refine=refine)
    first = module(FEATURES).output
    heads = list(module.heads)
    others = []
    for order in itertools.islice(itertools.permutations(range(3)), 1, None):
        module.heads = torch.nn.ModuleList([heads[k] for k in order])
        others.append((module(FEATURES).output - first).abs().max())
    assert max(others) < 1e-6 if refine == "none" else min(others) > 1e-3


def test_pure_masks_equal_their_product():
    made = stack(refine="none")(FEATURES)
    torch.testing.assert_close(made.output, FEATURES * made.masks[0] * made.masks[1] * made.masks[2])


@pytest.mark.parametrize("refine", ["none", "conv"])
@pytest.mark.parametrize("k", [0, 1, 2])
def test_forcing_a_mask_to_1_takes_away_exactly_its_effect(refine, k):
    module = stack(refine=refine)
    plain = module(FEATURES)
    module.forced = frozenset({k})
    forced = module(FEATURES)
    x = FEATURES
    for number, mask in enumerate(plain.masks):
        x = module.refine[number](x if number == k else x * mask)
    torch.testing.assert_close(forced.output, x)
    assert torch.equal(forced.masks[k], torch.ones_like(forced.masks[k]))
    assert not torch.equal(forced.output, plain.output)
