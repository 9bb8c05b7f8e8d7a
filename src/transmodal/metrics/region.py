"""What every metric does first: check that prediction, reference and mask belong together, and pick voxels."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from transmodal.errors import InputError, RecipeError

_SLAB_VOXELS = 2_000_000
"""Voxels that are filtered at once; keeps SSIM of a 256×256×180 volume below 1 GB."""


def check(
    prediction: Shaped[Tensor, "..."],
    reference: Shaped[Tensor, "..."],
    mask: Shaped[Tensor, "..."] | None,
    data_range: float | None = None,
) -> None:
    """Refuse what would give a number without meaning.

    Raises:
        InputError: shapes differ, or the mask is empty.
        RecipeError: a data range that is not above 0.
    """
    if prediction.shape != reference.shape:
        raise InputError(
            f"the prediction has shape {tuple(prediction.shape)} and the reference {tuple(reference.shape)}: "
            "a metric compares voxel by voxel; resample one onto the other"
        )
    if mask is not None and mask.shape != reference.shape[1:]:
        raise InputError(
            f"the mask has shape {tuple(mask.shape)} and the reference {tuple(reference.shape[1:])}: "
            "resample the mask onto the reference"
        )
    if mask is not None and not bool(mask.any()):
        raise InputError("the mask has no voxel: there is nothing to measure; check the mask")
    if data_range is not None and not 0 < data_range < float("inf"):
        raise RecipeError(f"data_range = {data_range}: give the width of the physical range, above 0")


def chosen(volume: Float[Tensor, "C X Y Z"], mask: Bool[Tensor, "X Y Z"] | None) -> Float[Tensor, "C V"]:
    """The voxels that count, in float64."""
    return (volume.flatten(1) if mask is None else volume[:, mask]).double()


def box(mask: Bool[Tensor, "X Y Z"], margin: int) -> tuple[slice, slice, slice]:
    """The smallest box around the mask, ``margin`` voxels wider on each side where the volume goes on."""
    sides = []
    for axis in range(3):
        others = [a for a in range(3) if a != axis]
        filled = torch.nonzero(mask.any(dim=others[1]).any(dim=others[0]))
        low, high = int(filled[0]), int(filled[-1])
        sides.append(slice(max(0, low - margin), min(mask.shape[axis], high + 1 + margin)))
    return sides[0], sides[1], sides[2]


def slabs(length: int, voxels_per_layer: int) -> Iterator[tuple[int, int]]:
    """First and one-past-last layer of slabs that cover ``length`` layers."""
    step = max(16, _SLAB_VOXELS // max(1, voxels_per_layer))
    for start in range(0, length, step):
        yield start, min(start + step, length)


def slice_axis(size: Sequence[int]) -> int:
    """The axis that slices are taken along by metrics of two dimensions: Z, or the last one of one voxel."""
    return max((axis for axis in range(3) if size[axis] == 1), default=2)


class Slices(NamedTuple):
    """Some slices of a prediction and of its reference, in float64, and where their voxels count."""

    prediction: Float[Tensor, "N C A B"]
    reference: Float[Tensor, "N C A B"]
    inside: Bool[Tensor, "N A B"]


def over_slices(
    prediction: Float[Tensor, "C X Y Z"],
    reference: Float[Tensor, "C X Y Z"],
    mask: Bool[Tensor, "X Y Z"] | None,
    most: int = 0,
) -> Iterator[Slices]:
    """All slices with a voxel of the mask, along :func:`slice_axis`, in order.

    Args:
        prediction: a volume.
        reference: of the same shape.
        mask: True where a voxel counts; None for all.
        most: how many at once; 0 for as many as memory should hold.
    """
    axis = slice_axis(reference.shape[1:])
    inside = torch.ones(reference.shape[1:], dtype=torch.bool) if mask is None else mask
    x, y, where = (v.movedim(axis + 1, 0) for v in (prediction, reference, inside[None].to(reference.device)))
    kept = torch.nonzero(where.flatten(1).any(dim=1))[:, 0]
    for some in kept.split(most or max(16, _SLAB_VOXELS // max(1, y[0].numel()))):
        yield Slices(x[some].double(), y[some].double(), where[some, 0])
