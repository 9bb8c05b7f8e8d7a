"""Model: what a user carries away from a training. A folder; never a pickle.

::

    weights.safetensors   what ``translate`` needs, nothing else
    model.json            method, task, sampling, intensity fits, units, versions, sha256 of the weights, licence
    calibration.json      what turns a spread into intervals, once ``transmodal calibrate`` has written it
    README.md             the model card
    model.onnx            after ``transmodal export --onnx``: the same for ONNX Runtime, with or without weights
"""

import hashlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transmodal import progress
from transmodal.data.bring import PrepareSettings
from transmodal.data.files import bring_back, new_folder, read_json, write_bytes, write_json, write_text
from transmodal.data.intensity import IntensityFit
from transmodal.data.limits import MOST_PARAMETERS, read_whole
from transmodal.data.record import as_written
from transmodal.data.sampling import Sampling
from transmodal.data.task import Task
from transmodal.errors import InputError, RecipeError
from transmodal.inference.card import opening
from transmodal.inference.choice import Choice
from transmodal.inference.conformal import Calibration
from transmodal.inference.described import described
from transmodal.inference.onnx_engine import GRAPH, OnnxMethod
from transmodal.inference.predict import InferenceSettings, Translation
from transmodal.inference.profile import Profile
from transmodal.schema import plain

FORMAT = "transmodal-model-1"
WEIGHTS = "weights.safetensors"
TRUSTED = "TRANSMODAL_METHODS"
"""Environment variable: the packages, besides this one, whose methods a model may name."""
_REMEDY = "copy the model again"
_PICKLES = (".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".bin", ".h5", ".npz", ".joblib")


@dataclass(frozen=True)
class Model:
    """A method that can translate, with all that is needed to feed it a scan and to read its answer.

    Attributes:
        name: of the method.
        method: the networks, in evaluation mode: a :class:`~transmodal.methods._method.Method`,
            or what was exported of one.
        arguments: what the method was built with.
        task: what goes in and what comes out.
        sampling: what the networks saw in training: plane, size, neighbours.
        prepare: how scans were brought to one grid.
        inference: how tiles are laid and blended.
        fits: target → how its normalised values become physical ones again (fitted on the training cases).
        spacing: median voxel size of the training cases in mm.
        sha256: of the weights.
        profiles: modality → what its training images have in common, for the guard; empty in older models.
        calibration: what intervals need; None before ``transmodal calibrate``.
        about: everything else in ``model.json``: versions, training data facts, licence, units.
    """

    name: str
    method: Any
    arguments: Mapping[str, Any]
    task: Task
    sampling: Sampling
    prepare: PrepareSettings
    inference: InferenceSettings
    fits: Mapping[str, IntensityFit]
    spacing: tuple[float, float, float]
    sha256: str = ""
    profiles: Mapping[str, Profile] = field(default_factory=dict)
    calibration: Calibration | None = None
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def translation(self) -> Translation:
        """The method, as it is led over whole scans."""
        empty = next(iter(self.fits.values())).background
        return Translation(self.method, self.task, self.sampling, self.inference, empty)


def save_model(model: Model, folder: Path) -> None:
    """Write a Model folder, whole or not at all; an older one at that place is replaced."""
    from transmodal.inference.weights import packed

    weights = packed(model.method, FORMAT)
    facts = {
        "format": FORMAT,
        "method": model.name,
        "arguments": plain(model.arguments),
        "task": plain(model.task),
        "sampling": plain(model.sampling),
        "prepare": plain(model.prepare),
        "inference": plain(model.inference),
        "fits": {name: fit.to_dict() for name, fit in model.fits.items()},
        "spacing_mm": list(model.spacing),
        "profiles": {name: profile.to_dict() for name, profile in model.profiles.items()},
        "sha256": hashlib.sha256(weights).hexdigest(),
        "about": plain(model.about),
    }
    with new_folder(folder) as fresh:
        write_bytes(fresh / WEIGHTS, weights)
        write_text(fresh / "README.md", opening(facts))
        if model.calibration is not None:
            write_json(fresh / "calibration.json", model.calibration.to_dict())
        write_json(fresh / "model.json", facts)


def load_model(path: Path | str, device: Any = "cpu", engine: Choice = "auto") -> Model:
    """Read a Model folder.

    Args:
        path: the folder, or a run's folder that holds ``model/``.
        device: where the networks go, a torch device or its name.
        engine: ``torch`` for the networks, ``onnx`` for the exported graph; ``auto`` for the networks where their
            weights are there, else for the graph. ``transmodal synthesize --engine auto`` may take the graph of a
            folder that holds both (:func:`transmodal.inference.choice.pick`).

    Raises:
        InputError: no model there, a pickle, a damaged or foreign file, weights that do not fit.
        RecipeError: ``onnx`` for a folder without a graph, or ONNX Runtime is not installed.
    """
    folder, facts = read_facts(path)
    known = described(facts)
    weights = folder / WEIGHTS
    if engine == "onnx" or (engine == "auto" and not weights.exists() and known.graph is not None):
        if known.graph is None:
            raise RecipeError(f"engine onnx: {folder} holds no graph; first: transmodal export MODEL --onnx")
        method: Any = OnnxMethod(folder / GRAPH, known.graph)
    else:
        from transmodal.inference.weights import unpacked

        content = _checked(weights, known.sha256)
        with as_written(folder / "model.json", _REMEDY):
            method = unpacked(facts, known.task, content, weights, device)
    return Model(
        name=known.name,
        method=method,
        arguments=known.arguments,
        task=known.task,
        sampling=known.sampling,
        prepare=known.prepare,
        inference=known.inference,
        fits=known.fits,
        spacing=known.spacing,
        sha256=known.sha256,
        profiles=known.profiles,
        calibration=_calibration(folder / "calibration.json", known.sha256),
        about=known.about,
    )


def save_calibration(calibration: Calibration, path: Path) -> None:
    """Write ``calibration.json`` into a model's folder (or a run's that holds one)."""
    write_json(_find(path) / "calibration.json", calibration.to_dict())


def _calibration(path: Path, digest: str) -> Calibration | None:
    """None where there is none, or where it is of other weights."""
    if not path.exists():
        return None
    with as_written(path, "run transmodal calibrate again"):
        found = Calibration.from_dict(read_json(path), str(path))
    if found.sha256 != digest:
        progress.warn(f"{path}: was made for other weights and is not used; run transmodal calibrate again")
        return None
    return found


def read_facts(path: Path | str) -> tuple[Path, dict[str, Any]]:
    """The folder of a model and what its ``model.json`` says, before anything is loaded.

    All of it is checked (:func:`transmodal.inference.described.described`).

    Raises:
        InputError: no model there, one of another format, or one that was damaged.
    """
    folder = _find(Path(path))
    facts = read_json(folder / "model.json")
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise InputError(
            f"{folder}/model.json: is not of format {FORMAT}; it was made by another program or version"
        )
    _check_method(folder, facts.get("method"))
    with as_written(folder / "model.json", _REMEDY):
        described(facts)
    return folder, facts


def _check_method(folder: Path, name: Any) -> None:
    """A model is data. It must not choose which module of this machine is imported, for importing runs it."""
    trusted = os.environ.get(TRUSTED, "").replace(",", " ").split()
    if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
        raise InputError(f"{folder}/model.json: method = {name!r} cannot name a method; the file is damaged")
    if "." in name and name not in sys.modules and name.partition(".")[0] not in trusted:
        raise InputError(
            f"{folder}/model.json: its method is the module {name}, which is not Transmodal's; if it is yours, "
            f"say so: {TRUSTED}={name.partition('.')[0]}, or import it first"
        )


def _checked(weights: Path, sha256: str) -> bytes:
    try:
        content = read_whole(weights, 8 * MOST_PARAMETERS)
    except OSError as problem:
        raise InputError(
            f"{weights}: cannot be read ({problem.strerror}); copy the whole model folder"
        ) from problem
    if hashlib.sha256(content).hexdigest() != sha256:
        raise InputError(f"{weights}: does not match the sha256 in model.json; the file is damaged, copy it again")
    return content


def _find(path: Path) -> Path:
    bring_back(path)
    if path.is_dir():
        bring_back(path / "model")
    if not path.exists():
        raise InputError(f"{path}: there is no such model; give the folder that training wrote (RUN/model)")
    if path.is_file():
        what = "is a pickle, which can run any code" if path.suffix in _PICKLES else "is a file"
        raise InputError(f"{path}: {what}; a Transmodal model is a folder with weights.safetensors and model.json")
    for folder in (path, path / "model"):
        if (folder / "model.json").is_file():
            return folder
    raise InputError(f"{path}: holds no model.json; give the folder that training wrote (RUN/model)")
