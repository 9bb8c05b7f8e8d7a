import pytest
import torch
from torch import nn

from transmodal.nn import init


@pytest.mark.parametrize("layer", [nn.Conv2d, nn.ConvTranspose2d, nn.Conv3d, nn.ConvTranspose3d])
def test_convolutions_get_the_published_spread_and_no_bias(layer):
    torch.manual_seed(0)
    weights = init.normal(layer(64, 64, 4))
    assert weights.weight.mean().item() == pytest.approx(0, abs=5e-4)
    assert weights.weight.std().item() == pytest.approx(0.02, rel=0.01)
    assert not weights.bias.any()


def test_scales_of_batch_norms_spread_around_one():
    torch.manual_seed(0)
    layer = init.normal(nn.Sequential(nn.BatchNorm2d(10_000)), sd=0.05)[0]
    assert layer.weight.mean().item() == pytest.approx(1, abs=2e-3)
    assert layer.weight.std().item() == pytest.approx(0.05, rel=0.03)
    assert not layer.bias.any()
    assert layer.running_var.eq(1).all()
