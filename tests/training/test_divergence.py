"""What is not a number stops a training, is named, and can be done again; what looks ill is said in words."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from transmodal.data.batch import Batch
from transmodal.errors import Diverged
from transmodal.methods._facts import Facts
from transmodal.methods._method import Objectives, Players
from transmodal.training.divergence import again
from transmodal.training.loop import fit, make_fabric
from transmodal.training.settings import TrainingSettings
from transmodal.training.watch import GRADIENT, Watch


class Two(nn.Module):
    """Two players; the second one's term is what the test wants of its weight and the batch."""

    facts: ClassVar[Facts] = Facts("two", "baseline")
    training_only: ClassVar[tuple[str, ...]] = ()
    multiple = 1

    def __init__(self, term: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second, self.term = nn.Linear(1, 1), nn.Linear(1, 1), term

    def players(self) -> Players:
        return {"one": {"first": self.first}, "two": {"second": self.second}}

    def objectives(self, batch: Batch) -> Objectives:
        noise = torch.rand(())
        yield "one", {"calm": (noise * self.first.weight.sum() + self.first.bias.sum() - 1) ** 2}
        linear = self.second(batch.source.mean(dim=(2, 3)))
        yield "two", {"fine": linear.mean() ** 2, "wild": self.term(linear, noise).mean()}

    def translate(self, batch: Batch) -> Tensor:
        return batch.source


def batch(step: int) -> Batch:
    ones = torch.ones(2, 1, 4, 4, dtype=torch.bool)
    source = torch.full((2, 1, 4, 4), math.inf if step == 3 else 0.5)
    return Batch(
        source, ones[:, :, 0, 0], ones, torch.zeros(2, 3, 2), 2, target=source, cases=("sub-a", f"sub-{step}")
    )


def trained(method: nn.Module, folder: Path) -> None:
    torch.manual_seed(0)
    settings = TrainingSettings(steps=6, precision="fp32", validate_every=0)
    fit(
        method, batch, settings, make_fabric(settings, "cpu"), folder, recipe_hash="x", higher_is_better=False,
        validate=lambda step, monitor: {"MAE": 1.0}, keep=lambda step: None,
    )  # fmt: skip


def test_an_infinite_loss_is_named_and_done_again(tmp_path: Path) -> None:
    method = Two(lambda linear, noise: linear * noise)
    with pytest.raises(Diverged, match=r"player 'two' .* step 3 in its term 'fine' .*sub-a, sub-3") as caught:
        trained(method, tmp_path)
    assert str(tmp_path / "diverged") in str(caught.value)
    assert {path.name for path in (tmp_path / "diverged").iterdir()} == {"state.safetensors", "turn.json"}
    weights = {name: value.clone() for name, value in method.state_dict().items()}
    other = Two(method.term)
    values = again(tmp_path / "diverged", other, make_fabric(TrainingSettings(precision="fp32"), "cpu"))
    assert not math.isfinite(values["fine"])
    assert set(values) == {"fine", "wild", "gradient"}
    for name, value in other.state_dict().items():
        assert torch.equal(value, weights[name]), name


def test_a_gradient_that_is_not_finite_is_named(tmp_path: Path) -> None:
    """√0 is 0, its slope is not finite."""
    method = Two(lambda linear, noise: (linear * 0).abs().sum().sqrt() * noise)
    with pytest.raises(Diverged, match=r"player 'two' is finite at step 0, but its gradient is not, .*second\."):
        trained(method, tmp_path)
    values = again(tmp_path / "diverged", Two(method.term), make_fabric(TrainingSettings(precision="fp32"), "cpu"))
    assert math.isfinite(values["wild"])
    assert not math.isfinite(values["gradient"])


def test_a_leap_of_the_gradient_is_said_in_words() -> None:
    watch, name = Watch(), f"{GRADIENT}generator"
    for norm in (1.0, 1.2, 0.9, 1.1, 1.0, 15.0):
        assert watch.look({name: norm}) == []
    (sentence,) = watch.look({name: 42.0})
    assert sentence.startswith("the gradient of generator has a norm of 42, 40 times what is usual (1.05)")
    assert watch.look({name: 420.0}) == []


def test_a_player_without_a_gradient_and_a_critic_that_has_won_are_said_in_words() -> None:
    watch = Watch()
    lines = [{f"{GRADIENT}generator": 1e-12, "critic/adversarial": 0.7 if i < 2 else 0.01} for i in range(8)]
    said = [watch.look(line) for line in lines]
    assert [any("next to no gradient" in s for s in line) for line in said] == [i == 4 for i in range(8)]
    assert [any("almost without error" in s for s in line) for line in said] == [i == 6 for i in range(8)]
    healthy = Watch()
    assert not any(healthy.look({"critic/adversarial": 0.7 - 0.05 * i, "critic/r1": 0.0}) for i in range(10))
