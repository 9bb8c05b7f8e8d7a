"""Recipe: one TOML file that fixes an experiment, and the words that override it.

Six tables: ``data``, ``sampling``, ``method``, ``training``, ``inference``, ``evaluation``. Each is the
signature of what it configures; a key that is not there is an error with the nearest one that is.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from transmodal import registry
from transmodal.data.bring import PrepareSettings
from transmodal.data.files import read_toml
from transmodal.data.sampling import Sampling
from transmodal.data.task import Task
from transmodal.errors import RecipeError, nearest
from transmodal.evaluation.scale import EvaluationSettings
from transmodal.inference.predict import InferenceSettings
from transmodal.schema import make, override, plain
from transmodal.training.settings import TrainingSettings


@dataclass(frozen=True)
class DataSettings:
    """Which scans, and who is held out.

    Attributes:
        path: a folder, a table, or a folder that ``transmodal prepare`` wrote.
        sources: names of the modalities that go in, in order.
        targets: names of the modalities that are made.
        fold: which fold is held out as the test set; the next one is the validation set.
        folds: how many folds there are. A ``split`` column in the table overrides both.
        licence: licence of the data, copied to the model card.
        prepare: how scans are brought to one grid.
    """

    path: str = ""
    sources: tuple[str, ...] = ("T1w",)
    targets: tuple[str, ...] = ("T2w",)
    fold: int = 0
    folds: int = 5
    licence: str = "not stated"
    prepare: PrepareSettings = field(default_factory=PrepareSettings)

    def __post_init__(self) -> None:
        if not self.sources or not self.targets:
            raise RecipeError("data.sources and data.targets: name at least one modality each")
        twice = set(self.sources) & set(self.targets)
        if twice or len(set(self.sources)) < len(self.sources):
            names = ", ".join(sorted(twice)) or ", ".join(self.sources)
            raise RecipeError(f"data.sources and data.targets: {names} is named twice; each modality has one role")
        if not 0 <= self.fold < self.folds or self.folds < 2:
            raise RecipeError(f"data.fold = {self.fold}: give 0 to {self.folds - 1} (data.folds = {self.folds})")


@dataclass(frozen=True)
class Recipe:
    """A resolved recipe: every value is there, checked, and frozen.

    Attributes:
        data: which scans.
        sampling: what the networks see.
        method: name of the method.
        arguments: what it is built with; what is not named keeps the default of its constructor.
        training: how long and how.
        inference: how volumes are put together.
        evaluation: what is measured.
        name: name of the file it came from.
    """

    data: DataSettings
    sampling: Sampling
    method: str
    arguments: Mapping[str, Any]
    training: TrainingSettings
    inference: InferenceSettings
    evaluation: EvaluationSettings
    name: str = "recipe"

    @property
    def task(self) -> Task:
        """What the method is asked to do."""
        sampling = self.sampling
        return Task(self.data.sources, self.data.targets, sampling.spatial, sampling.neighbours, sampling.size)

    @property
    def prepare_settings(self) -> PrepareSettings:
        """How raw scans are prepared for this recipe: only what it uses, the first source's grid by default."""
        settings = self.data.prepare
        names = settings.modalities or (*self.data.sources, *self.data.targets)
        return replace(settings, modalities=names, reference=settings.reference or self.data.sources[0])

    def to_dict(self) -> dict[str, Any]:
        """As a recipe file would hold it, with every default written out."""
        return {
            "data": plain(self.data),
            "sampling": plain(self.sampling),
            "method": {"name": self.method, **plain(self.arguments)},
            "training": plain(self.training),
            "inference": plain(self.inference),
            "evaluation": plain(self.evaluation),
        }

    @property
    def hash(self) -> str:
        """Digest of everything that changes the result; where the data lie on this machine does not."""
        content = self.to_dict()
        content["data"].pop("path")
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


_TABLES = {
    "data": DataSettings,
    "sampling": Sampling,
    "training": TrainingSettings,
    "inference": InferenceSettings,
    "evaluation": EvaluationSettings,
}


def load_recipe(path: Path | str, words: Sequence[str] = ()) -> Recipe:
    """Read a recipe file and lay ``key=value`` words over it.

    Raises:
        InputError: no such file.
        RecipeError: not TOML, an unknown table or key, a wrong type, or a method that cannot do the task.
    """
    path = Path(path)
    return make_recipe(override(read_toml(path, "recipe"), words), path.stem)


def make_recipe(table: Mapping[str, Any], name: str = "recipe") -> Recipe:
    """Check and resolve a recipe given as nested dicts."""
    known = [*_TABLES, "method"]
    for key in table:
        if key not in known:
            raise RecipeError(f"[{key}]: a recipe has no such table{nearest(key, known)}")
        if not isinstance(table[key], Mapping):
            raise RecipeError(f"{key} = {table[key]!r}: is a table; write {key}.KEY=VALUE")
    method = dict(table.get("method", {}))
    if "name" not in method:
        raise RecipeError(f"method.name: name one of the methods {', '.join(registry.names())}")
    chosen = method.pop("name")
    settings: dict[str, Any] = {key: make(kind, table.get(key, {}), key) for key, kind in _TABLES.items()}
    recipe = Recipe(method=chosen, arguments=method, name=name, **settings)
    _check_size(recipe, registry.outline(chosen, recipe.task, method).multiple)
    recipe.sampling.misalign.who(recipe.data.sources)
    asked = {"sampling.drop": recipe.sampling.drop, "evaluation.subsets": recipe.evaluation.subsets}
    for key, value in asked.items():
        if value and not registry.get(chosen).facts.handles_missing:
            raise RecipeError(f"{key} = {value}: {chosen} needs all its sources; leave it out")
    return recipe


def _check_size(recipe: Recipe, multiple: int) -> None:
    """Refuse slices or patches that the networks cannot halve as often as they do."""
    size = recipe.sampling.size
    if any(n % multiple for n in size):
        near = [max(multiple, round(n / multiple) * multiple) for n in size]
        raise RecipeError(
            f"sampling.size = {list(size)}: {recipe.method} takes multiples of {multiple} here; {near} would do"
        )
