"""Engine: what computes a method's translate. PyTorch for a method, ONNX Runtime for an exported one.

Nothing here imports either: prediction works on arrays, and only the engine that is used is loaded.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32

from transmodal.errors import RecipeError
from transmodal.methods._facts import Facts

Precision = Literal["fp32", "bf16"]
"""Of the networks; ``bf16`` autocast is faster on some machines and good to about 0.5 % of the range."""

Name = Literal["torch", "onnx"]
Choice = Literal["auto", "torch", "onnx"]
"""Which engine; ``auto`` takes the fastest that gives the same numbers on this machine."""


@dataclass(frozen=True)
class Samples:
    """Tiles as a network gets them: a :class:`~transmodal.data.batch.Batch` before it becomes tensors.

    Attributes:
        source: all sources, normalised, zeros where one is missing.
        present: which sources are there.
        mask: where voxels count.
        extent: first and last voxel centre as fractions of the box around the mask.
        axis: the axis that slices are taken along, None for patches.
        cases: name of the case of each sample.
    """

    source: Float32[np.ndarray, "B Cin *N"]
    present: Bool[np.ndarray, "B S"]
    mask: Bool[np.ndarray, "B 1 *N"]
    extent: Float32[np.ndarray, "B 3 2"]
    axis: int | None
    cases: tuple[str, ...] = ()


@runtime_checkable
class Translator(Protocol):
    """What prediction needs to know of a method, or of an exported one."""

    multiple: int

    @property
    def facts(self) -> Facts:
        """What it is and needs."""
        ...


@runtime_checkable
class Exported(Protocol):
    """A translator that brings its own engine."""

    def run(self, samples: Samples) -> Float32[np.ndarray, "B Cout *N"]:
        """The target for these sources, normalised."""
        ...


Run = Callable[[Samples], Float32[np.ndarray, "B Cout *N"]]


def runner(method: Translator, precision: Precision) -> Run:
    """How ``method`` is run: its own engine where it brings one, else PyTorch on the method's device."""
    if isinstance(method, Exported):
        return method.run
    from transmodal.inference.torch_engine import torch_runner

    return torch_runner(method, precision)


def engine_of(method: Translator) -> str:
    """What runs it, for people: ``ONNX Runtime 1.31.1``."""
    name, package = ("ONNX Runtime", "onnxruntime") if isinstance(method, Exported) else ("PyTorch", "torch")
    return f"{name} {version(package)}"


def pick(
    wanted: Choice, weights: bool, graph: Mapping[str, Any] | None, device: str, precision: Precision
) -> Name:
    """The engine for a model's folder on this machine.

    The graph is taken where there is no GPU and export found it to be faster; what it answers differs from PyTorch
    by no more than export allowed, whereas bfloat16 is for the user to ask for.

    Args:
        wanted: what the user said.
        weights: whether the folder holds weights.
        graph: the ``onnx`` table of ``model.json``, if there is one.
        device: what the user said: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        precision: of the networks.

    Raises:
        RecipeError: an engine that cannot run this folder so.
    """
    only_torch = "bf16" if precision == "bf16" else f"--device {device}" if device not in ("auto", "cpu") else ""
    if wanted == "torch" or graph is None:
        if wanted == "onnx":
            raise RecipeError("--engine onnx: the model holds no graph; first: transmodal export MODEL --onnx")
        if not weights and graph is not None:
            raise RecipeError("--engine torch: this folder was exported without weights; leave --engine out")
        return "torch"
    if only_torch and (wanted == "onnx" or not weights):
        raise RecipeError(f"{only_torch}: an exported graph runs in fp32 on the processor; use the weights")
    if wanted == "onnx" or not weights or find_spec("torch") is None:
        return "onnx"
    faster = graph.get("speed", 0.0) > 1 and find_spec("onnxruntime") is not None
    gpu = device == "auto" and shutil.which("nvidia-smi") is not None
    return "onnx" if faster and not only_torch and not gpu else "torch"
