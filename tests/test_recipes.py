"""Every recipe still fits the code it configures, and takes steps."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch

from transmodal import registry
from transmodal.data.batch import Batch
from transmodal.errors import RecipeError
from transmodal.experiment.demo import demo_recipe
from transmodal.recipe import Recipe, load_recipe, make_recipe
from transmodal.training.loop import make_fabric
from transmodal.training.optim import optimizer
from transmodal.training.settings import TrainingSettings
from transmodal.training.turns import play, trained_parameters

FOLDER = Path(__file__).parent.parent / "recipes"
RECIPES = sorted(FOLDER.glob("*.toml"))


def test_there_are_recipes() -> None:
    assert {path.stem for path in RECIPES} >= {"_smoke", "regression_elderly", "pix2pix_elderly"}


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_a_recipe_loads_and_its_method_takes_two_steps(path: Path) -> None:
    take_two_steps(load_recipe(path))


def test_the_embedded_recipe_too(tmp_path: Path) -> None:
    take_two_steps(demo_recipe(tmp_path))


def take_two_steps(recipe: Recipe) -> None:
    torch.manual_seed(0)
    # Small images, and no weights from outside: what a recipe says of them is checked when it is loaded.
    lighter = {
        "critic_size": (32, 32),
        "patches": 1,
        "allow_random": True,
        "encoder_weights": "",
        "encoder_size": 64,
    }
    known = registry.arguments(registry.get(recipe.method))
    arguments = {**recipe.arguments, **{key: value for key, value in lighter.items() if key in known}}
    method = registry.build(recipe.method, recipe.task, arguments)
    size = [method.multiple * max(1, 32 // method.multiple)] * recipe.task.spatial
    batch = Batch(
        source=torch.rand(2, recipe.task.in_channels, *size) * 2 - 1,
        target=torch.rand(2, recipe.task.out_channels, *size) * 2 - 1,
        present=torch.ones(2, len(recipe.task.sources), dtype=torch.bool),
        mask=torch.ones(2, 1, *size, dtype=torch.bool),
        extent=torch.tensor([[[0.0, 1.0]] * 3] * 2),
        axis=2 if recipe.task.spatial == 2 else None,
        paired=method.facts.paired,
        step=1,
        labels=torch.zeros(2, 1, *size, dtype=torch.int32),
    )
    parameters = trained_parameters(method.players())
    optimizers = {p: optimizer(own, recipe.training.optimizer_of(p)) for p, own in parameters.items()}
    before = {name: p.detach().clone() for own in parameters.values() for name, p in own.items()}
    fabric = make_fabric(TrainingSettings(precision="fp32"), "cpu")
    for _ in range(2):
        terms = play(method, [batch], optimizers, parameters, dict.fromkeys(parameters, 0.0), fabric)
        assert all(torch.isfinite(value) for value in terms.values())
    after = {name: p for own in parameters.values() for name, p in own.items()}
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_the_hash_tells_results_apart_but_not_machines(table: dict[str, Any]) -> None:
    recipe = make_recipe(table)
    moved = make_recipe({**table, "data": {**table["data"], "path": "/elsewhere"}})
    other = make_recipe({**table, "training": {**table["training"], "seed": 1}})
    assert recipe.hash == moved.hash
    assert recipe.hash != other.hash
    assert make_recipe(recipe.to_dict()).hash == recipe.hash


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data": {"sources": ["T1w"], "targets": ["T1w"]}}, "named twice"),
        ({"data": {"sources": [], "targets": ["FA"]}}, "at least one modality"),
        ({"data": {"fold": 5}}, "data.fold = 5"),
        ({"sampling": {"view": "patch", "size": [32, 32]}}, "give 3 numbers"),
        ({"sampling": {"neighbours": 2}}, "odd number"),
        ({"method": {}}, r"method\.name"),
        ({"method": {"name": "cyclegan"}, "data": {"targets": ["T2w", "FA"]}}, "at most 1 target"),
        ({"evaluation": {"metrics": ["SIM"]}}, "SSIM"),
        ({"inference": {"planes": ["top"]}}, "'top'"),
        ({"training": {"ema": 1.0}}, r"training\.ema"),
    ],
)
def test_what_cannot_be_is_refused_before_data_are_read(change: dict[str, Any], words: str) -> None:
    base = tomllib.loads((FOLDER / "_smoke.toml").read_text())
    with pytest.raises(RecipeError, match=words):
        make_recipe({**base, **change})
