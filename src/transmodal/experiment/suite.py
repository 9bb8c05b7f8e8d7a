"""Suite: one TOML file that names the recipes of a benchmark, their data and the budget that all of them get."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from transmodal.data.bring import PrepareSettings
from transmodal.data.files import read_toml
from transmodal.data.names import can_be_file
from transmodal.errors import RecipeError
from transmodal.recipe import Recipe, load_recipe
from transmodal.reporting.tables import FLOORS
from transmodal.schema import make, override

_MOST, _MOST_RUNS = 1e9, 10_000
"""Of steps, minutes or a margin, none of them NaN; and of trainings, each of which has a folder."""


@dataclass(frozen=True)
class Contender:
    """One recipe of a suite.

    Attributes:
        recipe: file, relative to the suite's.
        name: of its row; by default the file's name up to the first underscore.
        set: ``key=value`` words for this recipe alone.
    """

    recipe: str
    name: str = ""
    set: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Name of its row."""
        return self.name or Path(self.recipe).stem.partition("_")[0]


@dataclass(frozen=True)
class Suite:
    """Recipes that are trained on the same folds with the same budget.

    Attributes:
        recipe: the contenders; in the file ``[[recipe]]``.
        data: a dataset or a prepared one; ``data=SCANS`` after the suite on the command line.
        folds: how many there are; 0 for what each recipe says.
        seeds: how often every fold is trained; scores of a case are averaged over them.
        steps: updates that every contender gets; 0 for what each recipe says.
        minutes: of training that every contender gets in each fold and seed: steps are laid out from the time
            that a step of each takes here, so that schedules end. 0 for ``steps``.
        metric: what is ranked by; empty for the first of the recipes' metrics.
        margin: the largest difference that does not matter, for tests of equivalence; 0 for none.
        set: ``key=value`` words for every recipe.
    """

    recipe: tuple[Contender, ...]
    data: str = ""
    folds: int = 0
    seeds: int = 1
    steps: int = 0
    minutes: float = 0.0
    metric: str = ""
    margin: float = 0.0
    set: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        labels = [own.label for own in self.recipe]
        if not labels:
            raise RecipeError("a suite without recipes: add [[recipe]] tables, each with recipe = FILE")
        for label in labels:
            if labels.count(label) > 1 or label in FLOORS or "=" in label or not can_be_file(label):
                raise RecipeError(
                    f"suite: {label!r} names two recipes, is the name of a floor, or holds a sign that no folder "
                    "may have; give it another name = NAME"
                )
        budget = (self.steps, self.minutes, self.margin)
        if self.seeds < 1 or (self.steps and self.minutes) or not all(0 <= number < _MOST for number in budget):
            raise RecipeError(
                f"suite: seeds = {self.seeds}, steps = {self.steps}, minutes = {self.minutes:g}: give one seed or "
                "more, and steps or minutes, not both"
            )


@dataclass(frozen=True)
class Entrant:
    """One training of a suite: a contender, a fold and a seed."""

    label: str
    recipe: Recipe

    @property
    def folder(self) -> str:
        """Name of its run's folder."""
        seed = self.recipe.training.seed
        return f"{self.label.replace(' ', '-')}_fold{self.recipe.data.fold}_seed{seed}"


def load_suite(path: Path, words: Sequence[str] = ()) -> Suite:
    """Read a suite and lay ``key=value`` words over it.

    Raises:
        InputError: no such file.
        RecipeError: not TOML, an unknown key, or nonsense.
    """
    table = override(read_toml(path, "suite"), words)
    found = table.pop("recipe", [])
    if not isinstance(found, list) or not all(isinstance(own, dict) for own in found):
        raise RecipeError(f"{path}: recipe = {found!r}: write one [[recipe]] table for each")
    contenders = tuple(make(Contender, own, "suite.recipe") for own in found)
    return make(Suite, table, "suite", contenders)


def recipes(suite: Suite, path: Path) -> dict[str, Recipe]:
    """Label → its recipe with the suite's words, before folds, seeds and budget.

    Raises:
        InputError: a recipe is not there.
        RecipeError: one that is wrong, or of another task than the first.
    """
    found = {}
    for own in suite.recipe:
        words = [*suite.set, *own.set, *([f"data.folds={suite.folds}"] if suite.folds else [])]
        words += [f"data.path={suite.data}"] if suite.data else []
        words += [f"training.steps={suite.steps}", "training.minutes=0"] if suite.steps else []
        found[own.label] = load_recipe(path.parent / own.recipe, words)
    first = next(iter(found.values()))
    for label, recipe in found.items():
        if recipe.data.targets != first.data.targets or recipe.data.folds != first.data.folds:
            raise RecipeError(
                f"suite: {label} makes {', '.join(recipe.data.targets)} in {recipe.data.folds} folds, and "
                f"{next(iter(found))} {', '.join(first.data.targets)} in {first.data.folds}; give all the same"
            )
    return found


def common_preparation(found: dict[str, Recipe]) -> PrepareSettings:
    """How the scans are prepared once, for all.

    Raises:
        RecipeError: two recipes want the scans prepared differently.
    """
    (first, lead), *others = ((label, recipe.prepare_settings) for label, recipe in found.items())
    names = list(lead.modalities)
    for label, settings in others:
        names += [name for name in settings.modalities if name not in names]
        if replace(settings, modalities=()) != replace(lead, modalities=()):
            raise RecipeError(
                f"suite: {first} and {label} want the scans prepared differently ([data.prepare], or another "
                "first source); their scores could not be compared"
            )
    return replace(lead, modalities=tuple(names))


def entrants(found: dict[str, Recipe], seeds: int) -> list[Entrant]:
    """All trainings; every contender's first fold comes before anybody's second, so that a part is fair, too."""
    folds = next(iter(found.values())).data.folds
    if len(found) * folds * seeds > _MOST_RUNS:
        raise RecipeError(
            f"suite: {len(found)} recipes, {folds} folds and {seeds} seeds are more than {_MOST_RUNS} trainings; "
            "give fewer folds or seeds"
        )
    return [
        Entrant(label, _at(recipe, fold, seed))
        for seed, fold in product(range(seeds), range(folds))
        for label, recipe in found.items()
    ]


def _at(recipe: Recipe, fold: int, seed: int) -> Recipe:
    training = replace(recipe.training, seed=recipe.training.seed + seed)
    return replace(recipe, data=replace(recipe.data, fold=fold), training=training)
