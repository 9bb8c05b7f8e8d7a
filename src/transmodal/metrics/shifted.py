"""ShiftPSNR and ShiftSSIM: what is left of an error once a shift by whole voxels is forgiven."""

import torch
from jaxtyping import Bool, Float
from scipy.fft import next_fast_len
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
    with its last voxel. All shifts are tried at once: the sum is Σ x² - 2 Σ x y + Σ y², two correlations with the
    mask, which Fourier transforms give. Of shifts that are equal to rounding the shortest wins; a NaN in the mask
    gives no shift.

    Raises:
        InputError: shapes differ, or the mask is empty.
    """
    check(prediction, reference, mask)
    inside = torch.ones_like(reference[0], dtype=torch.bool) if mask is None else mask
    around = box(inside, 0)
    reaches = [reach if n > 1 else 0 for n in reference.shape[1:]]
    padding = [r for r in reversed(reaches) for _ in range(2)]
    near = tuple(slice(side.start, side.stop + 2 * r) for side, r in zip(around, reaches, strict=True))
    made = pad(prediction[None].double(), padding, mode="replicate")[0][:, *near].nan_to_num(0, 0, 0)
    weight = inside[around].double()
    truth = reference[:, *around].double()
    if not bool(torch.isfinite(prediction[:, inside]).all()):
        return (0, 0, 0)
    # A common offset would drown the differences in rounding.
    middle = (truth * weight).sum() / (weight.sum() * len(truth))
    made, truth = made - middle, (truth - middle) * weight
    errors = _correlate((made * made).sum(dim=0)[None], weight[None], reaches) - 2 * _correlate(
        made, truth, reaches
    )
    smallest = float(errors.min()) + 1e-10 * float((truth * truth).sum())
    shifts: list[Shift] = [(int(a) - reaches[0], int(b) - reaches[1], int(c) - reaches[2])
                           for a, b, c in torch.nonzero(errors <= smallest)]  # fmt: skip
    return min(shifts, key=lambda shift: sum(step * step for step in shift))


def _correlate(x: Float[Tensor, "C X1 Y1 Z1"], y: Float[Tensor, "C X Y Z"], reaches: list[int]) -> Tensor:
    """Σ over v and channels of x(v + s) y(v), for s from 0 to twice the reach along each axis."""
    sizes = [next_fast_len(n, real=True) for n in x.shape[1:]]
    total = torch.zeros(sizes, dtype=torch.float64, device=x.device)
    for one, other in zip(x, y, strict=True):
        total += torch.fft.irfftn(torch.fft.rfftn(one, s=sizes) * torch.fft.rfftn(other, s=sizes).conj(), s=sizes)
    return total[tuple(slice(0, 2 * r + 1) for r in reaches)]


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
