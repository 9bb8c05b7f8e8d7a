"""ShiftPSNR and ShiftSSIM: what is left of an error once a shift by whole voxels is forgiven."""

from itertools import product

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import pad

from transmodal.metrics.metric import Metric
from transmodal.metrics.psnr import psnr
from transmodal.metrics.region import box, check
from transmodal.metrics.ssim import ssim

Shift = tuple[int, int, int]

REACH = 2
"""Voxels along each axis by which the prediction may lie off."""


@torch.no_grad()
def best_shift(
    prediction: Float[Tensor, "C X Y Z"],
    reference: Float[Tensor, "C X Y Z"],
    mask: Bool[Tensor, "X Y Z"] | None = None,
    *,
    reach: int = REACH,
) -> Shift:
    """The shift s, whole voxels within ± ``reach`` along each axis, that makes Σ (x(v + s) - y(v))² smallest.

    The voxels v are those of the mask, which stays with the reference. Beyond its faces the prediction goes on
    with its last voxel. Of equal shifts the shortest wins; a NaN in the mask gives no shift. Candidates are
    ranked in float32.

    Raises:
        InputError: shapes differ, or the mask is empty.
    """
    check(prediction, reference, mask)
    around = box(mask, 0) if mask is not None else (slice(0, n) for n in reference.shape[1:])
    starts, sizes = zip(*((side.start, side.stop - side.start) for side in around), strict=True)
    wide = pad(prediction[None].float(), [reach] * 6, mode="replicate")[0]
    inside = tuple(slice(start, start + size) for start, size in zip(starts, sizes, strict=True))
    chosen = None if mask is None else mask[inside]
    truth = reference[:, *inside].float()
    truth = truth if chosen is None else truth[:, chosen]
    along = [range(-reach, reach + 1) if n > 1 else range(1) for n in reference.shape[1:]]
    shifts: list[Shift] = list(product(along[0], along[1], along[2]))
    best, smallest = (0, 0, 0), float("inf")
    for shift in sorted(shifts, key=lambda s: sum(step * step for step in s)):
        places = (slice(a + reach + s, a + reach + s + n) for a, s, n in zip(starts, shift, sizes, strict=True))
        moved = wide[:, *places]
        rest = ((moved if chosen is None else moved[:, chosen]) - truth).flatten()
        error = float(torch.dot(rest, rest))
        if error < smallest:
            best, smallest = shift, error
        elif error != error and shift == (0, 0, 0):
            return shift
    return best


def moved(prediction: Float[Tensor, "C X Y Z"], shift: Shift) -> Float[Tensor, "C X Y Z"]:
    """The prediction with voxel v + ``shift`` at v; beyond its faces it goes on with its last voxel."""
    for axis, (step, length) in enumerate(zip(shift, prediction.shape[1:], strict=True)):
        if step:
            places = (torch.arange(length, device=prediction.device) + step).clamp(0, length - 1)
            prediction = prediction.index_select(axis + 1, places)
    return prediction


def shift_psnr(
    prediction: Float[Tensor, "C X Y Z"],
    reference: Float[Tensor, "C X Y Z"],
    mask: Bool[Tensor, "X Y Z"] | None = None,
    *,
    data_range: float,
) -> float:
    """The best PSNR over all shifts of the prediction by up to 2 voxels along each axis, in dB.

    Read it beside the plain PSNR: a large gap means that the volumes are not registered. See :func:`best_shift`.

    Raises:
        InputError: shapes differ, or the mask is empty.
        RecipeError: a range that is not above 0.
    """
    check(prediction, reference, mask, data_range)
    shift = best_shift(prediction, reference, mask)
    return psnr(moved(prediction, shift), reference, mask, data_range=data_range)


def shift_ssim(
    prediction: Float[Tensor, "C X Y Z"],
    reference: Float[Tensor, "C X Y Z"],
    mask: Bool[Tensor, "X Y Z"] | None = None,
    *,
    data_range: float,
) -> float:
    """SSIM at the shift that gives the best PSNR: one shift for both. See :func:`best_shift`.

    Raises:
        InputError: shapes differ, or the mask is empty.
        RecipeError: a range that is not above 0.
    """
    check(prediction, reference, mask, data_range)
    shift = best_shift(prediction, reference, mask)
    return ssim(moved(prediction, shift), reference, mask, data_range=data_range)


def _reach_in_words(reference: Tensor, mask: Tensor | None) -> str:
    return f"shift={REACH}"


SHIFT_PSNR = Metric(
    "ShiftPSNR",
    shift_psnr,
    unit="dB",
    higher_is_better=True,
    best=float("inf"),
    needs_range=True,
    summary="best PSNR over shifts by up to 2 voxels along each axis",
    sees_outside=True,
    detail=_reach_in_words,
)
SHIFT_SSIM = Metric(
    "ShiftSSIM",
    shift_ssim,
    unit="1",
    higher_is_better=True,
    best=1.0,
    needs_range=True,
    summary="SSIM at the shift of the best PSNR",
    sees_outside=True,
    detail=_reach_in_words,
)
