import pytest
import torch
from torch import nn
from torch.nn import functional as F

from transmodal.data.task import Task
from transmodal.nn.patchgan import PatchGAN, conditional_critic


def count(network):
    return sum(p.numel() for p in network.parameters())


def test_parameters_equal_the_published_networks():
    assert count(PatchGAN(6)) == 2_768_705, "2.769 M: conditional, batch norm"
    assert count(PatchGAN(3, norm_kind="instance")) == 2_764_737, "2.765 M: instance norm"


@pytest.mark.parametrize(("layers", "patch"), [(1, 16), (2, 34), (3, 70), (5, 286)])
def test_a_score_sees_exactly_its_patch(layers, patch):
    """All weights one: a voxel has a gradient if and only if the score depends on it."""
    critic = PatchGAN(1, width=1, layers=layers, norm_kind="none")
    assert critic.receptive_field == patch
    for parameter in critic.parameters():
        nn.init.constant_(parameter, 0.1)
    image = torch.zeros(1, 1, 2 * patch + 64, 2 * patch + 64, requires_grad=True)
    scores = critic(image)
    scores[0, 0, scores.shape[2] // 2, scores.shape[3] // 2].backward()
    rows, columns = image.grad[0, 0].nonzero(as_tuple=True)
    for seen in (rows, columns):
        assert int(seen.max() - seen.min()) + 1 == patch


def test_values_equal_the_published_stack_of_layers():
    torch.manual_seed(0)
    critic = PatchGAN(2, width=4)
    x = torch.randn(2, 2, 48, 48)
    convolutions = [m for m in critic.modules() if isinstance(m, nn.Conv2d)]
    y = F.leaky_relu(F.conv2d(x, convolutions[0].weight, convolutions[0].bias, 2, 1), 0.2)
    for layer, stride in zip(convolutions[1:4], (2, 2, 1), strict=True):
        assert layer.bias is None
        y = F.conv2d(y, layer.weight, None, stride, 1)
        y = F.leaky_relu(F.batch_norm(y, None, None, training=True), 0.2)
    y = F.conv2d(y, convolutions[4].weight, convolutions[4].bias, 1, 1)
    torch.testing.assert_close(critic(x), y)


def test_scores_of_a_volume():
    assert PatchGAN(1, spatial=3, width=2, layers=2)(torch.zeros(2, 1, 24, 32, 40)).shape == (2, 1, 4, 6, 8)


def test_the_conditional_critic_sees_the_source_and_then_the_target():
    task = Task(sources=("T1w", "T2w"), targets=("FA",))
    torch.manual_seed(0)
    critic = conditional_critic(task, width=4, layers=1, norm_kind="instance")
    x, y = torch.randn(2, 2, 16, 16), torch.randn(2, 1, 16, 16)
    assert torch.equal(critic(x, y), critic(torch.cat([x, y], dim=1)))
    assert not torch.equal(critic(x, y), critic(y, x))
    first = critic.layers[0].weight
    assert first.shape[1] == 3
    assert abs(first.std() - 0.02) < 0.005


def test_a_critic_needs_a_layer():
    with pytest.raises(ValueError, match="give at least 1"):
        PatchGAN(1, layers=0)
