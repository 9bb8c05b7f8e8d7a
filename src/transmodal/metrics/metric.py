"""Metric: the facts about one metric that tables, reports and tests rely on."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from transmodal.errors import RecipeError


def _nothing(reference: Tensor, mask: Tensor | None) -> str:
    return ""


@dataclass(frozen=True)
class Metric:
    """One metric and what is known about it.

    Attributes:
        name: as shown in tables.
        function: ``f(prediction, reference, mask)``, with ``data_range=`` where ``needs_range``.
        unit: ``data`` (the unit of the volumes), ``dB``, or ``1`` for a pure number.
        higher_is_better: which way is up; None where neither is, and ``best`` is in between.
        best: the value of a perfect prediction.
        needs_range: whether it depends on a data range.
        summary: one line.
        sees_outside: whether voxels outside the mask enter (a window reaches over its border).
        detail: words that belong to the convention and depend on the case, such as the number of scales.
        colour: whether it needs red, green and blue.
        slicewise: whether it is a mean over slices, so that it matters along which axis they are taken.
        hounsfield: whether it needs values in HU.
        against_input: whether the reference is the first source, and the prediction is compared as grey.
    """

    name: str
    function: Callable[..., float]
    unit: Literal["data", "dB", "1"]
    higher_is_better: bool | None
    best: float
    needs_range: bool
    summary: str
    sees_outside: bool = False
    detail: Callable[[Tensor, Tensor | None], str] = _nothing
    colour: bool = False
    slicewise: bool = False
    hounsfield: bool = False
    against_input: bool = False

    def __call__(
        self,
        prediction: Float[Tensor, "C X Y Z"],
        reference: Float[Tensor, "C X Y Z"],
        mask: Bool[Tensor, "X Y Z"] | None = None,
        *,
        data_range: float | None = None,
    ) -> float:
        """The metric of one volume; ``data_range`` is passed on only where it is needed.

        Raises:
            InputError: shapes differ, or the mask is empty.
            RecipeError: the metric needs a data range and got none, or one that is not above 0.
        """
        if not self.needs_range:
            return self.function(prediction, reference, mask)
        if data_range is None:
            raise RecipeError(f"{self.name} needs a data_range: give the width of the physical range")
        return self.function(prediction, reference, mask, data_range=data_range)

    def convention(
        self, reference: Float[Tensor, "C X Y Z"], mask: Bool[Tensor, "X Y Z"] | None, data_range: str = ""
    ) -> str:
        """How a value of this metric was computed, in the words of the tidy table.

        Args:
            reference: what it was computed against.
            mask: True where a voxel counted; None for all.
            data_range: R, as in ``range=4095``; left out where the metric needs none.
        """
        kind = "2d slices" if self._of_slices(reference) else f"{sum(n > 1 for n in reference.shape[1:])}d"
        words = (kind, "whole" if mask is None else "masked", data_range if self.needs_range else "")
        return " ".join(word for word in (*words, self.detail(reference, mask)) if word)

    def counted(self, reference: Float[Tensor, "C X Y Z"], mask: Bool[Tensor, "X Y Z"] | None) -> int:
        """How many voxels a value is of; slices, where it is a mean over the slices of a volume."""
        inside = torch.ones(reference.shape[1:], dtype=torch.bool) if mask is None else mask
        return int(inside.any(dim=0).any(dim=0).sum() if self._of_slices(reference) else inside.sum())

    def _of_slices(self, reference: Tensor) -> bool:
        return self.slicewise and min(reference.shape[1:]) > 1


def against_input(metric: Metric) -> Metric:
    """The same metric of how much a prediction looks like the scan it was made from: ``NAME-input``."""
    summary = f"{metric.summary}, against the first source"
    return replace(metric, name=f"{metric.name}-input", summary=summary, against_input=True)
