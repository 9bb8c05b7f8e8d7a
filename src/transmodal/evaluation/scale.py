"""Scale: the units in which a target is judged.

A target with a physical window (HU, FA) is judged in those units. A scan in arbitrary units has no scale that a
model could know, so it is judged in the reference's own window: 0 at its low, 1 at its high percentile. The
reference is never clipped to the window.
"""

from dataclasses import dataclass

import numpy as np

from transmodal.data.intensity import IntensityFit
from transmodal.data.modality import modality
from transmodal.errors import RecipeError
from transmodal.metrics import METRICS
from transmodal.shapes import Voxels


@dataclass(frozen=True)
class EvaluationSettings:
    """What is measured: the ``[evaluation]`` table.

    Attributes:
        metrics: names of metrics, in the order of the tables.
        floors: baselines judged beside the method, on the same cases.
        keep_predictions: write every judged volume; False keeps only the numbers.
        subsets: judge the method from every part of its sources, too; their volumes are not kept.
    """

    metrics: tuple[str, ...] = ("MAE", "NMSE", "PSNR", "SSIM", "MS-SSIM")
    floors: tuple[str, ...] = ("identity", "mean")
    keep_predictions: bool = True
    subsets: bool = False

    def __post_init__(self) -> None:
        unknown = [name for name in self.metrics if name not in METRICS]
        if unknown or not self.metrics:
            raise RecipeError(f"evaluation.metrics = {list(self.metrics)}: known are {', '.join(METRICS)}")


@dataclass(frozen=True)
class Scale:
    """How normalised and stored values become judged ones, for one case and target.

    Attributes:
        unit: of the judged values.
        data_range: for PSNR and SSIM; None where it is the reference's own range.
        window: what a picture shows as black and white.
        fit: the case's own fit of the target.
        physical: whether the target is judged in its stored unit.
    """

    unit: str
    data_range: float | None
    window: tuple[float, float]
    fit: IntensityFit
    physical: bool

    def of_prediction(self, normalised: Voxels) -> Voxels:
        """Judged values of what a method made: of the very values that synthesis would write."""
        return self.of_reference(self.fit.invert(normalised))

    def of_reference(self, stored: Voxels) -> Voxels:
        """Judged values of what was measured."""
        if self.physical:
            return np.asarray(stored, dtype=np.float32)
        normalised = (np.asarray(stored, dtype=np.float32) - self.fit.shift) / self.fit.scale
        return np.asarray((normalised + 1) / 2 if self.fit.bounded else normalised, dtype=np.float32)


def scale_of(target: str, fit: IntensityFit) -> Scale:
    """The scale of ``target`` for a case whose own intensity fit is ``fit``."""
    kind = modality(target)
    if kind.window is not None and fit.kind == "window" and fit.range is not None:
        low, high = fit.range
        return Scale(kind.unit, high - low, (low, high), fit, physical=True)
    if fit.bounded:
        return Scale("window", 1.0, (0.0, 1.0), fit, physical=False)
    return Scale("z", None, (-2.0, 3.0), fit, physical=False)
