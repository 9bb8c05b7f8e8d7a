"""Engine: what computes a method's translate, as prediction sees it: arrays in, arrays out.

PyTorch (:mod:`.torch_engine`) for a method, ONNX Runtime (:mod:`.onnx_engine`) for an exported one; :mod:`.choice`
says which. Nothing here imports either.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32

from transmodal.methods._facts import Facts

Precision = Literal["fp32", "bf16"]
"""Of the networks; ``bf16`` autocast is faster on some machines and good to about 0.5 % of the range."""


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
