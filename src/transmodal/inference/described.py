"""Described: what ``model.json`` says, every value of it checked before anything is loaded or chosen by it.

Whoever changed or damaged the file gets a sentence that names it (:func:`transmodal.data.record.as_written`).
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from transmodal.data.bring import PrepareSettings
from transmodal.data.intensity import IntensityFit
from transmodal.data.limits import MOST_TILE
from transmodal.data.sampling import Sampling
from transmodal.data.task import Task
from transmodal.errors import InputError
from transmodal.inference.onnx_engine import Graph
from transmodal.inference.predict import InferenceSettings, tile_size
from transmodal.inference.profile import Profile
from transmodal.schema import coerce

_DIGEST = re.compile("[0-9a-f]{64}")
_LONGEST_NAME = 200


@dataclass(frozen=True)
class Described:
    """A model but for its networks; attributes as of :class:`transmodal.inference.model.Model`.

    Attributes:
        graph: what is known of ``model.onnx``; None where there is none.
    """

    name: str
    arguments: Mapping[str, Any]
    task: Task
    sampling: Sampling
    prepare: PrepareSettings
    inference: InferenceSettings
    fits: Mapping[str, IntensityFit]
    spacing: tuple[float, float, float]
    sha256: str
    profiles: Mapping[str, Profile]
    about: Mapping[str, Any]
    graph: Graph | None


def described(facts: Mapping[str, Any]) -> Described:
    """What the content of a ``model.json`` says.

    Raises:
        RecipeError: a value of a wrong type, or out of its limits.
        LookupError: a key is missing.
        ValueError: NaN, infinity, text that no file can hold, or parts that do not belong together.
    """
    # What is said here goes into sidecars and headers, which hold neither.
    json.dumps(facts, allow_nan=False, ensure_ascii=False).encode()
    task: Task = coerce(facts["task"], Task, "model.task")
    sampling: Sampling = coerce(facts["sampling"], Sampling, "model.sampling")
    if (task.spatial, task.neighbours) != (sampling.spatial, sampling.neighbours):
        raise ValueError("its task and its sampling are of different axes or neighbours")
    fits = coerce(facts["fits"], Mapping[str, Any], "model.fits")
    if set(fits) != set(task.targets):
        raise ValueError(f"it has the scale of {sorted(fits)} and makes {sorted(task.targets)}")
    graph = coerce(facts["onnx"], Graph, "model.onnx") if "onnx" in facts else None
    _check_tile(task, sampling, graph)
    profiles = coerce(facts.get("profiles", {}), Mapping[str, Any], "model.profiles")
    return Described(
        name=_text(facts["method"], "method", _LONGEST_NAME),
        arguments=coerce(facts["arguments"], Mapping[str, Any], "model.arguments"),
        task=task,
        sampling=sampling,
        prepare=coerce(facts["prepare"], PrepareSettings, "model.prepare"),
        inference=coerce(facts["inference"], InferenceSettings, "model.inference"),
        fits={name: _fit(fit) for name, fit in fits.items()},
        spacing=_spacing(facts["spacing_mm"]),
        sha256=_digest(facts["sha256"]),
        profiles={name: Profile.from_dict(one) for name, one in profiles.items()},
        about=_about(facts["about"]),
        graph=graph,
    )


def _fit(stored: Any) -> IntensityFit:
    try:
        return IntensityFit.from_dict(stored)
    except InputError as problem:  # which cannot name the file
        raise ValueError(str(problem)) from problem


def _check_tile(task: Task, sampling: Sampling, graph: Graph | None) -> None:
    tile = tile_size(sampling, graph.multiple if graph else 1, None if sampling.spatial == 3 else 0)
    if prod(tile) * task.in_channels > MOST_TILE:
        raise ValueError(f"sampling.size = {list(sampling.size)}: no network takes so many values at once")


def _spacing(value: Any) -> tuple[float, float, float]:
    spacing: tuple[float, float, float] = coerce(value, tuple[float, float, float], "model.spacing_mm")
    if not all(0 < edge < 1e3 for edge in spacing):
        raise ValueError(f"spacing_mm = {value}: three edges of a voxel in mm are expected")
    return spacing


def _digest(value: Any) -> str:
    if not _DIGEST.fullmatch(_text(value, "sha256", 64)):
        raise ValueError(f"sha256 = {value!r}: 64 digits are expected")
    return str(value)


def _about(value: Any) -> Mapping[str, Any]:
    about: Mapping[str, Any] = coerce(value, Mapping[str, Any], "model.about")
    coerce(about.get("licence", ""), str, "model.about.licence")
    coerce(about.get("pretrained", ()), tuple[str, ...], "model.about.pretrained")
    return about


def _text(value: Any, key: str, longest: int) -> str:
    text: str = coerce(value, str, f"model.{key}")
    if len(text) > longest:
        raise ValueError(f"{key} has {len(text)} letters")
    return text
