"""The loop's turns are the classic alternation: a backward pass through everything, a step of one's own."""

import pytest
import torch

from transmodal import registry
from transmodal.data.batch import Batch
from transmodal.data.task import Task
from transmodal.methods.cyclegan import CycleGAN
from transmodal.methods.macro2micro import Macro2Micro
from transmodal.methods.pix2pix import Pix2Pix
from transmodal.training.loop import make_fabric
from transmodal.training.seed import seed_step
from transmodal.training.settings import TrainingSettings
from transmodal.training.turns import play, trained_parameters

STEPS = 30

TINY = {
    Pix2Pix: {"depth": 3, "width": 4, "critic_width": 4, "critic_layers": 1, "norm": "instance"},
    CycleGAN: {"blocks": 1, "width": 4, "critic_width": 4, "critic_layers": 1, "pool": 3},
    Macro2Micro: {
        "width": 4, "critic_size": (16, 16), "critic_width": 4, "patch_width": 2, "patch_hidden": 8,
        "patch_size": 16, "patches": 2, "perceptual_weight": 0.0, "r1_every": 4,
    },
}  # fmt: skip


def batch(step: int) -> Batch:
    generator = torch.Generator().manual_seed(step)
    source = torch.rand(2, 1, 16, 16, generator=generator) * 2 - 1
    ones = torch.ones(2, 1, 16, 16, dtype=torch.bool)
    return Batch(source, ones[:, :, 0, 0], ones, torch.zeros(2, 3, 2), 2, target=-source, step=step)


def built(kind: type) -> torch.nn.Module:
    torch.manual_seed(0)
    method = registry.build(kind.__module__.rsplit(".", 1)[1], Task(), TINY[kind])
    assert isinstance(method, kind)
    return method


@pytest.mark.parametrize("kind", TINY)
def test_turns_equal_the_classic_alternation_bit_for_bit(kind: type) -> None:
    ours, classic = built(kind), built(kind)
    fabric = make_fabric(TrainingSettings(precision="fp32"), "cpu")
    parameters = trained_parameters(ours.players())
    optimizers = {p: torch.optim.Adam(own.values(), 1e-3, betas=(0.5, 0.999)) for p, own in parameters.items()}
    mine = trained_parameters(classic.players())
    other = {p: torch.optim.Adam(own.values(), 1e-3, betas=(0.5, 0.999)) for p, own in mine.items()}
    for step in range(STEPS):
        seed_step(0, step, 0)
        play(ours, [batch(step)], optimizers, parameters, dict.fromkeys(parameters, 0.0), fabric)

        seed_step(0, step, 0)
        for player, terms in classic.objectives(batch(step)):
            for optimizer in other.values():
                optimizer.zero_grad()
            torch.stack(list(terms.values())).sum().backward()
            other[player].step()
    for name, value in ours.state_dict().items():
        assert torch.equal(value, classic.state_dict()[name]), name
