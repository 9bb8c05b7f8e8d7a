"""What every method must keep, whoever wrote it. This file enumerates the registry: a new method is tested here
without an edit."""

import copy
import hashlib
import inspect
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from transmodal import registry
from transmodal.data.batch import Batch
from transmodal.data.limits import numbers
from transmodal.data.task import Task
from transmodal.errors import RecipeError
from transmodal.inference.engine import Samples
from transmodal.inference.graph import write_graph
from transmodal.inference.onnx_engine import Graph, OnnxMethod
from transmodal.inference.torch_engine import torch_runner

SIZE = 32
SMALLER: Mapping[str, Any] = {
    "width": 4, "critic_width": 4, "depth": 3, "blocks": 1, "critic_layers": 1, "lattice": 8, "pool": 3,
    # Two samples of 4 voxels have no statistics worth the name; the paper's batch norm has its own test.
    "norm": "instance",
    "critic_size": (32, 32), "patch_width": 2, "patch_hidden": 8, "patch_size": 16, "patches": 2,
    # The weights of VGG-19 and SAM cannot be part of a test suite.
    "allow_random": True, "vgg_taps": ("relu1_1", "relu2_1"), "segmenter_width": 4,
    "encoder": "sam_tiny", "encoder_size": 64,
}  # fmt: skip
"""Arguments that make a network small, set wherever a method has them."""

TASKS = {
    "2D": Task(),
    "2D, two sources": Task(sources=("T1w", "PDw"), targets=("T2w",)),
    "2.5D": Task(neighbours=3),
    "3D": Task(spatial=3),
    "colour": Task(targets=("cryo",)),
}

CASES = [
    pytest.param(name, task, id=f"{name}-{label}")
    for name in registry.names()
    for label, task in TASKS.items()
    if task.spatial in registry.get(name).facts.spatial
    and len(task.sources) >= registry.get(name).facts.min_sources
]


def build(name: str, task: Task, seed: int = 0) -> Any:
    known = registry.arguments(registry.get(name))
    torch.manual_seed(seed)
    return registry.build(name, task, {key: value for key, value in SMALLER.items() if key in known})


def batch(task: Task, step: int = 0) -> Batch:
    rng = torch.Generator().manual_seed(step)
    shape = (SIZE,) * task.spatial
    source = torch.rand(2, task.in_channels, *shape, generator=rng) * 2 - 1
    return Batch(
        source=source,
        target=torch.tanh(2 * source[:, :1].flip(-1)).expand(-1, task.out_channels, *shape).clone(),
        present=torch.ones(2, len(task.sources), dtype=torch.bool),
        mask=torch.ones(2, 1, *shape, dtype=torch.bool),
        extent=torch.tensor([[[0.0, 1.0]] * 3] * 2),
        axis=2 if task.spatial == 2 else None,
        step=step,
        labels=torch.randint(0, 4, (2, 1, *shape), generator=rng),
    )


def parameters(networks: Mapping[str, nn.Module]) -> list[nn.Parameter]:
    return [p for network in networks.values() for p in network.parameters()]


def optimisers(method: Any) -> dict[str, torch.optim.Optimizer]:
    return {player: torch.optim.Adam(parameters(nets), lr=1e-3) for player, nets in method.players().items()}


def step(method: Any, optimiser: Mapping[str, torch.optim.Optimizer], number: int, task: Task) -> None:
    """What the loop does, in eight lines."""
    torch.manual_seed(1000 + number)
    for player, terms in method.objectives(batch(task, number)):
        optimiser[player].zero_grad()
        torch.stack(list(terms.values())).sum().backward(inputs=parameters(method.players()[player]))
        optimiser[player].step()


@pytest.mark.parametrize(("name", "task"), CASES)
def test_translate_keeps_the_grid_and_the_dtype(name: str, task: Task) -> None:
    method = build(name, task).eval()
    given = batch(task)
    with torch.no_grad():
        made = method.translate(given)
    assert made.shape == given.truth.shape
    assert made.dtype == given.source.dtype
    assert SIZE % method.multiple == 0


@pytest.mark.parametrize(("name", "task"), CASES)
def test_every_turn_is_fair(name: str, task: Task) -> None:
    """Terms are finite, named scalars in float32; the player's every parameter gets a finite gradient; nobody else
    moves; gradients are enabled after each yield."""
    method = build(name, task)
    players = method.players()
    optimiser = optimisers(method)
    moved = set()
    for player, terms in method.objectives(batch(task)):
        assert torch.is_grad_enabled()
        assert terms
        for term, value in terms.items():
            assert isinstance(term, str)
            assert value.shape == ()
            assert value.dtype == torch.float32
            assert torch.isfinite(value)
        others = {p: [w.detach().clone() for w in parameters(nets)] for p, nets in players.items() if p != player}
        optimiser[player].zero_grad()
        torch.stack(list(terms.values())).sum().backward(inputs=parameters(players[player]))
        for parameter in parameters(players[player]):
            assert parameter.grad is not None
            assert torch.isfinite(parameter.grad).all()
        optimiser[player].step()
        for other, weights in others.items():
            assert all(torch.equal(a, b) for a, b in zip(weights, parameters(players[other]), strict=True))
        moved.add(player)
    assert moved == set(players)


@pytest.mark.parametrize("name", registry.names())
def test_networks_are_attributes_and_nothing_is_shared(name: str) -> None:
    method = build(name, Task())
    owners: dict[int, str] = {}
    for player, networks in method.players().items():
        for network, module in networks.items():
            assert getattr(method, network) is module
            for parameter in module.parameters():
                assert owners.setdefault(id(parameter), player) == player
    for part in method.training_only:
        assert isinstance(getattr(method, part), nn.Module)


@pytest.mark.parametrize("name", registry.names())
def test_equal_seeds_give_equal_weights_and_stopping_changes_nothing(name: str) -> None:
    task = Task()
    one, two = build(name, task), build(name, task)
    first, second = optimisers(one), optimisers(two)
    for number in range(4):
        step(one, first, number, task)
    for number in range(2):
        step(two, second, number, task)
    resumed = build(name, task, seed=7)
    resumed.load_state_dict(copy.deepcopy(two.state_dict()))
    third = optimisers(resumed)
    for player, optimiser in second.items():
        third[player].load_state_dict(copy.deepcopy(optimiser.state_dict()))
    for number in range(2, 4):
        step(two, second, number, task)
        step(resumed, third, number, task)
    for key, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[key]), key
        assert torch.equal(value, resumed.state_dict()[key]), key


@pytest.mark.parametrize("name", registry.names())
def test_bfloat16_is_close(name: str) -> None:
    method, given = build(name, Task()).eval(), batch(Task())
    with torch.no_grad():
        exact = method.translate(given)
        with torch.autocast("cpu", torch.bfloat16):
            rough = method.translate(given)
    assert (exact - rough.float()).abs().mean() < 0.02 * exact.abs().mean().clamp(min=0.1)


@pytest.mark.parametrize("name", [n for n in registry.names() if registry.get(n).facts.paper != "baseline"])
def test_a_short_training_beats_the_identity(name: str) -> None:
    """On a contrast that is inverted, which no copy of the source can match."""
    task = Task()
    method = build(name, task)
    optimiser = {
        p: torch.optim.Adam(parameters(n), lr=4e-3, betas=(0.5, 0.999)) for p, n in method.players().items()
    }
    shape = (4, 1, SIZE, SIZE)
    for number in range(60):
        source = smooth(shape, number)
        torch.manual_seed(number)
        given = make(source, -0.8 * source)
        for player, terms in method.objectives(given):
            optimiser[player].zero_grad()
            torch.stack(list(terms.values())).sum().backward(inputs=parameters(method.players()[player]))
            optimiser[player].step()
    source = smooth(shape, 999)
    with torch.no_grad():
        made = method.eval().translate(make(source, source))
    error, floor = (made + 0.8 * source).abs().mean(), (source + 0.8 * source).abs().mean()
    facts = registry.get(name).facts
    if facts.paired and facts.registered:
        assert error < 0.5 * floor
    else:
        # Without pairs that lie on each other a sign cannot be known from so little; that it learns the range
        # is what is asked.
        assert made.abs().mean() < 1.5 * source.abs().mean()


def smooth(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    rough = torch.randn(shape[0], 1, 6, 6, generator=torch.Generator().manual_seed(seed))
    return torch.tanh(nn.functional.interpolate(rough, shape[2:], mode="bicubic", align_corners=True))


def make(source: torch.Tensor, target: torch.Tensor) -> Batch:
    count = len(source)
    return Batch(
        source=source,
        target=target,
        present=torch.ones(count, 1, dtype=torch.bool),
        mask=torch.ones_like(source, dtype=torch.bool),
        extent=torch.tensor([[[0.0, 1.0]] * 3] * count),
        axis=2,
        labels=(2 * target + 2).int(),
    )


@pytest.mark.parametrize("name", registry.names())
def test_the_file_is_small_and_says_where_the_idea_is_from(name: str) -> None:
    cls = registry.get(name)
    path = Path(inspect.getfile(cls))
    text = inspect.getdoc(inspect.getmodule(cls)) or ""
    assert len(path.read_text().splitlines()) <= 350
    if cls.facts.paper == "baseline":
        assert "baseline" in text.lower()
    else:
        assert cls.facts.paper.startswith("https://arxiv.org/abs/")
        assert cls.facts.unproven, "the card of every model says that no number of a paper was verified"
        assert cls.facts.paper in text
    assert (path.parents[3] / "docs" / "methods" / f"{name}.md").is_file()


OF_ONE_SIZE = ("mean", "mrnet")
"""Exported for the tile that they were trained on: one looks places up in a table, one resizes."""


@pytest.mark.filterwarnings("ignore")  # the exporter warns about itself
@pytest.mark.parametrize("name", registry.names())
def test_exports_to_onnx(name: str, tmp_path: Path) -> None:
    """The graph takes a batch that it was not traced with, and a size, where the method allows it."""
    task = Task(sources=("T1w", "PDw"))
    method = build(name, task).eval().requires_grad_(False)
    if "totals" in dict(method.named_buffers()):
        # What is painted was counted before; untaught, the answer is the same everywhere.
        method.totals.uniform_(1, 2, generator=torch.Generator().manual_seed(0))
    written = write_graph(method, task, 2, (SIZE, SIZE))
    assert written.size == ((SIZE, SIZE) if name in OF_ONE_SIZE else ())
    (tmp_path / "model.onnx").write_bytes(written.content)
    graph = Graph(
        hashlib.sha256(written.content).hexdigest(), asdict(method.facts), multiple=method.multiple, axes=(2,),
        batch=written.batch,
    )  # fmt: skip
    chance, wide = np.random.default_rng(0), (SIZE, SIZE if name in OF_ONE_SIZE else 2 * SIZE)
    given = Samples(
        source=chance.uniform(-1, 1, (5, task.in_channels, *wide)).astype(np.float32),
        present=np.ones((5, 2), dtype=bool),
        mask=np.ones((5, 1, *wide), dtype=bool),
        extent=chance.uniform(0, 1, (5, 3, 2)).astype(np.float32),
        axis=2,
    )
    made = OnnxMethod(tmp_path / "model.onnx", graph).run(given)
    expected = torch_runner(method, "fp32")(given)
    assert np.abs(made - expected).max() < 1e-3 * np.ptp(expected)


@pytest.mark.parametrize("name", registry.names())
def test_what_it_costs_can_be_counted_without_computing(name: str) -> None:
    known = registry.arguments(registry.get(name))
    task = Task(sources=("T1w",) * max(1, registry.get(name).facts.min_sources))
    method = registry.outline(name, task, {key: value for key, value in SMALLER.items() if key in known})
    assert isinstance(method, nn.Module)
    wide, square = (registry.gmac(name, method, task, shape) for shape in ((SIZE, 2 * SIZE), (SIZE, SIZE)))
    assert (square > 0) == any(isinstance(part, nn.Conv2d | nn.Linear) for part in method.modules())
    assert square <= wide <= 2.05 * square


@pytest.mark.parametrize("name", registry.names())
def test_a_task_it_cannot_do_is_refused(name: str) -> None:
    facts = registry.get(name).facts
    if facts.max_targets is not None:
        with pytest.raises(RecipeError, match="at most"):
            registry.build(name, Task(targets=tuple(f"M{i}" for i in range(facts.max_targets + 1))), {})
    with pytest.raises(RecipeError, match="no such key"):
        registry.build(name, Task(), {"wdth": 3})


def test_what_torch_cannot_hold_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"aginet cannot be built: .*overflow"):
        registry.outline("aginet", Task(), {"depth": 200})


@pytest.mark.parametrize("name", registry.names())
def test_numbers_that_make_no_sense_anywhere_are_refused(name: str) -> None:
    known = registry.arguments(registry.get(name))
    task = Task(sources=("T1w",) * max(1, registry.get(name).facts.min_sources))

    def refused(key: str, value: Any, says: str) -> None:
        with pytest.raises(RecipeError, match=rf"{name}\.{key} = .*: {says}"):
            registry.outline(name, task, {key: value})

    for key, parameter in known.items():
        assert all(math.isfinite(n) for n in numbers(parameter.default))
        if "float" in str(parameter.annotation):
            for value in (math.nan, math.inf, -math.inf):
                refused(
                    key, (value, 0.5) if isinstance(parameter.default, tuple) else value, "give a finite number"
                )
        if key.endswith("_weight"):
            assert parameter.default >= 0
            refused(key, -1e-3, "a weight is 0 or more")
            refused(key, -5, "a weight is 0 or more")
        if key == "width" or key.endswith("_width"):
            refused(key, 0, "a layer has 1 channel or more")
            refused(key, -3, "a layer has 1 channel or more")
        if key in ("depth", "blocks", "critic_layers"):
            refused(key, 60_000, "at most 256 layers can be built")
