"""What the training loop costs over a loop written by hand, and over a script as the common repositories have it.

    python benchmarks/loop.py

pix2pix (depth 5, width 32, batch 8, 128 × 128), every side with networks of its own of the same weights, on the
same batch in memory. Sides take turns of a few steps each; a step is the time from the start of one to the start
of the next, so that all that a loop does between two steps counts. The first step of a turn does not.

- by hand: bf16 autocast, channels last, one forward pass of G for both players; nothing is logged or kept.
- this loop: :func:`transmodal.training.loop.fit` with the same arithmetic; logs once a turn.
- this loop, averaged: with the moving average of weights that the recipes have.
- common script: float32, the memory layout as it comes, zeroed gradients, every loss read after every step.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, l1_loss

from transmodal import registry
from transmodal.data.batch import Batch
from transmodal.data.task import Task
from transmodal.machine import environment
from transmodal.nn.convnd import use_channels_last
from transmodal.training.loop import fit, make_fabric
from transmodal.training.settings import OptimizerSettings, TrainingSettings

ROUNDS, STEPS, COUNT, EDGE = 9, 9, 8, 128
SIZES = {"depth": 5, "width": 32, "critic_width": 32, "norm": "instance", "dropout": 0.0}
LEARNING = {"lr": 2e-4, "betas": (0.5, 0.999)}
Turn = Callable[[], list[float]]


def network() -> Any:
    torch.manual_seed(0)
    return registry.build("pix2pix", Task(), SIZES)


def batch() -> Batch:
    source = torch.rand(COUNT, 1, EDGE, EDGE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    ones = torch.ones(COUNT, 1, EDGE, EDGE, dtype=torch.bool)
    return Batch(source, ones[:, :1, 0, 0], ones, torch.zeros(COUNT, 3, 2), 2, target=source.flip(-1))


def adversarial(scores: torch.Tensor, real: bool) -> torch.Tensor:
    wanted = torch.ones_like(scores) if real else torch.zeros_like(scores)
    return binary_cross_entropy_with_logits(scores, wanted)


def apart(starts: list[float]) -> list[float]:
    """Milliseconds between starts, without the first."""
    return [1e3 * (after - before) for before, after in pairwise(starts[1:])]


def by_hand() -> Turn:
    """The same arithmetic as ours and nothing else."""
    method, given = network(), batch()
    use_channels_last(method)
    x, y = (t.contiguous(memory_format=torch.channels_last) for t in (given.source, given.truth))
    g, d = method.generator, method.critic
    players = [torch.optim.Adam(net.parameters(), **LEARNING, foreach=True) for net in (g, d)]

    def turn() -> list[float]:
        starts = []
        for _ in range(STEPS + 1):
            starts.append(time.perf_counter())
            with torch.autocast("cpu", torch.bfloat16):
                fake = g(x)
                real, made = d(torch.cat([x, y], dim=1)), d(torch.cat([x, fake.detach()], dim=1))
            loss = 0.5 * (adversarial(real.float(), True) + adversarial(made.float(), False))
            players[1].zero_grad()
            loss.backward()
            players[1].step()
            d.requires_grad_(False)
            with torch.autocast("cpu", torch.bfloat16):
                made = d(torch.cat([x, fake], dim=1))
            loss = adversarial(made.float(), True) + 100 * l1_loss(fake.float(), y)
            players[0].zero_grad()
            loss.backward()
            players[0].step()
            d.requires_grad_(True)
        return apart(starts)

    return turn


def common_script() -> Turn:
    """As a script of 2017 has it."""
    method, given = network(), batch()
    x, y, g, d = given.source, given.truth, method.generator, method.critic
    players = [torch.optim.Adam(net.parameters(), **LEARNING) for net in (g, d)]

    def turn() -> list[float]:
        starts = []
        for _ in range(STEPS + 1):
            starts.append(time.perf_counter())
            fake = g(x)
            d.requires_grad_(True)
            players[1].zero_grad()
            made = adversarial(d(torch.cat([x, fake], dim=1).detach()), False)
            real = adversarial(d(torch.cat([x, y], dim=1)), True)
            (0.5 * (made + real)).backward()
            players[1].step()
            d.requires_grad_(False)
            players[0].zero_grad()
            fooled = adversarial(d(torch.cat([x, fake], dim=1)), True)
            close = 100 * l1_loss(fake, y)
            (fooled + close).backward()
            players[0].step()
            [one.item() for one in (made, real, fooled, close)]
        return apart(starts)

    return turn


def ours(average: float) -> Turn:
    """:func:`fit`, started anew for every turn on networks that go on."""
    given, method = batch(), network()
    settings = TrainingSettings(
        steps=STEPS + 1, batch_size=COUNT, validate_every=0, log_every=STEPS - 1, precision="bf16", ema=average,
        optimizer=OptimizerSettings(**LEARNING, schedule="constant"),
    )  # fmt: skip
    fabric = make_fabric(settings, "cpu")
    starts: list[float] = []
    plain = method.objectives

    def objectives(one: Batch) -> Any:
        starts.append(time.perf_counter())
        return plain(one)

    method.objectives = objectives

    def turn() -> list[float]:
        starts.clear()
        with tempfile.TemporaryDirectory() as folder:
            fit(method, lambda _: given, settings, fabric, Path(folder), recipe_hash="", higher_is_better=False,
                validate=lambda *_: {settings.monitor: 0.0}, keep=lambda _: None)  # fmt: skip
        return apart(starts)

    return turn


def main() -> None:
    facts = environment()
    print(f"{facts['processor']}, {facts['cores']} cores, torch {facts['versions']['torch']}, no GPU used\n")
    sides = {"by hand": by_hand(), "this loop": ours(0.0), "this loop, averaged": ours(0.99),
             "common script": common_script()}  # fmt: skip
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(ROUNDS + 1):
        for name, turn in sides.items():
            found = statistics.fmean(turn())
            if number:
                taken[name].append(found)
    print("| a step of pix2pix | ms | ratio to the first |\n|---|---:|---:|")
    for name, values in taken.items():
        ratio = statistics.median(v / b for v, b in zip(values, taken["by hand"], strict=True))
        print(f"| {name} | {statistics.median(values):.1f} | {ratio:.3f} |")


if __name__ == "__main__":
    main()
