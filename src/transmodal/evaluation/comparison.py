"""Comparison: one prediction beside its reference, and the scores that metrics give it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from transmodal.data.modality import Modality
from transmodal.errors import InputError
from transmodal.metrics import METRICS
from transmodal.metrics.ms_ssim import ssim_and_ms_ssim

_TOGETHER = ("SSIM", "MS-SSIM")
"""What is cheaper together than one by one."""


@dataclass(frozen=True)
class DataRange:
    """R of PSNR and SSIM, and how a convention names it.

    Attributes:
        size: R.
        words: ``range=4095``, or ``range=reference`` where it is max - min of the case's own reference.
    """

    size: float
    words: str


@dataclass(frozen=True)
class Score:
    """One number, before it belongs to a case and a method.

    Attributes:
        region: where it was measured.
        metric: its name.
        convention: how it was computed, in the words of the tidy table.
        value: may be infinite or NaN.
        unit: of the value.
        n: what was averaged: voxels, or slices with a finite value.
        data_range: R in words; empty for a metric that needs none.
        infinite: slices left out because their value is infinite.
        undefined: slices left out because their value is not a number.
    """

    region: str
    metric: str
    convention: str
    value: float
    unit: str
    n: int
    data_range: str = ""
    infinite: int = 0
    undefined: int = 0


@dataclass(frozen=True, eq=False)
class Comparison:
    """A prediction beside its reference, on one grid, in one unit.

    Attributes:
        prediction: values (C, X, Y, Z), axes in RAS+ order.
        reference: of the same shape and unit.
        mask: True where a voxel counts; None where no mask is known.
        labels: a label map; 0 is background. None where there is none.
        kind: what the volumes measure: unit, physical window.
        data_range: R of PSNR and SSIM; None for the width of the physical window, and without one max - min of
            the reference in the voxels that count.
    """

    prediction: Float[Tensor, "C X Y Z"]
    reference: Float[Tensor, "C X Y Z"]
    mask: Bool[Tensor, "X Y Z"] | None
    labels: Shaped[Tensor, "X Y Z"] | None
    kind: Modality
    data_range: float | None = None

    def range_in(self, inside: Bool[Tensor, "X Y Z"] | None) -> DataRange:
        """The data range where the voxels ``inside`` count; None for all of them.

        Raises:
            InputError: the reference has NaN there, or no range of its own where it needs one.
        """
        truth = self.reference if inside is None else self.reference[:, inside]
        if not bool(torch.isfinite(truth).all()):
            raise InputError("the reference has NaN or infinite voxels; replace them first")
        if self.data_range is not None:
            return DataRange(self.data_range, f"range={self.data_range:.10g}")
        if self.kind.window is not None:
            size = self.kind.window[1] - self.kind.window[0]
            return DataRange(size, f"range={size:.10g}")
        low, high = float(truth.min()), float(truth.max())
        if low == high:
            raise InputError(
                f"the reference is {low:.6g} everywhere in the voxels that count, so it has no range of its own; "
                "give a data_range, or check the mask"
            )
        return DataRange(high - low, "range=reference")

    def clipped(self, window: tuple[float, float]) -> tuple[Tensor, Tensor]:
        """Prediction and reference, no value beyond the window."""
        return self.prediction.clamp(*window), self.reference.clamp(*window)


def measure(
    prediction: Float[Tensor, "C X Y Z"],
    reference: Float[Tensor, "C X Y Z"],
    inside: Bool[Tensor, "X Y Z"] | None,
    metrics: Sequence[str],
    data_range: DataRange,
    *,
    region: str,
    unit: str,
    lead: str = "",
) -> Iterator[Score]:
    """Metrics of one volume, each with the words of its convention.

    Args:
        prediction: in the unit of the reference.
        reference: the truth.
        inside: True where a voxel counts; None for all.
        metrics: names from :data:`transmodal.metrics.METRICS`.
        data_range: R.
        region: name of what ``inside`` covers.
        unit: of the data.
        lead: words that the convention begins with.
    """
    known: dict[str, float] = {}
    if set(_TOGETHER) <= set(metrics):
        both = ssim_and_ms_ssim(prediction, reference, inside, data_range=data_range.size)
        known = dict(zip(_TOGETHER, both, strict=True))
    for name in metrics:
        metric = METRICS[name]
        said = data_range.words if metric.needs_range else ""
        yield Score(
            region=region,
            metric=name,
            convention=f"{lead} {metric.convention(reference, inside, said)}".lstrip(),
            value=known[name]
            if name in known
            else metric(prediction, reference, inside, data_range=data_range.size),
            unit=unit if metric.unit == "data" else metric.unit,
            n=metric.counted(reference, inside),
            data_range=said.removeprefix("range="),
        )
