"""Score one prediction: rows of the tidy table, each of which says how it was computed."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Shaped

from transmodal.errors import InputError, RecipeError, nearest
from transmodal.evaluation.comparison import DataRange, measure
from transmodal.evaluation.table import Row
from transmodal.metrics import METRICS

DEFAULT_METRICS = ("MAE", "NMSE", "PSNR", "SSIM", "MS-SSIM")
"""What is measured unless somebody asks for something else."""


def score(
    prediction: Shaped[np.ndarray, "..."],
    reference: Shaped[np.ndarray, "..."],
    mask: Shaped[np.ndarray, "..."] | None,
    *,
    case: str,
    method: str,
    data_range: float | None,
    unit: str,
    region: str = "mask",
    metrics: Sequence[str] = DEFAULT_METRICS,
    against: Literal["target", "input"] = "target",
) -> list[Row]:
    """Compare a prediction with its reference, whole volume at a time, in physical units.

    Args:
        prediction: values of shape (C, X, Y, Z) in the unit of the reference.
        reference: of the same shape.
        mask: shape (X, Y, Z), True where a voxel counts; None for the whole volume.
        case: name of the subject.
        method: what made the prediction.
        data_range: R of PSNR, SSIM and MS-SSIM; None for max - min of this reference in this mask, and the
            convention then says ``range=reference``.
        unit: of the data.
        region: name of what ``mask`` covers. Without a mask the region is ``volume``.
        metrics: names from :data:`transmodal.metrics.METRICS`.
        against: what ``reference`` is: the measured target, or the scan that the prediction was made from, which
            is what metrics called ``NAME-input`` compare with, and no others.

    Returns:
        One row per metric, in the order of ``metrics``. A prediction with NaN in it gives ``nan`` values.

    Raises:
        InputError: shapes differ, the mask is empty, or the reference has NaN or no range; names the case.
        RecipeError: an unknown metric, one that compares with another reference, one of CT for values that are
            not in HU, or a range that is not above 0.
    """
    unknown = [name for name in metrics if name not in METRICS]
    if unknown:
        raise RecipeError(f"there is no metric {unknown[0]!r}{nearest(unknown[0], METRICS)}")
    if strange := [name for name in metrics if METRICS[name].against_input != (against == "input")]:
        wanted = "the scan that was shown" if METRICS[strange[0]].against_input else "the measured target"
        raise RecipeError(
            f"{strange[0]} compares with {wanted}, and the reference of case {case} is the {against}; leave it "
            "out here: `transmodal train` judges by both kinds"
        )
    if unit != "HU" and (needy := [name for name in metrics if METRICS[name].hounsfield]):
        raise RecipeError(f"{needy[0]} is of CT in HU, and case {case} is in {unit!r}; leave it out")
    _check(prediction, reference, mask, case)
    truth = reference if mask is None else reference[:, mask]
    _check_reference(truth, case, needs_range=data_range is None and any(METRICS[m].needs_range for m in metrics))
    own = DataRange(float(truth.max()) - float(truth.min()), "range=reference")
    size = own if data_range is None else DataRange(data_range, f"range={data_range:.10g}")
    x, y = (torch.from_numpy(np.array(v, dtype=np.float64)) for v in (prediction, reference))
    inside = None if mask is None else torch.from_numpy(np.array(mask))
    where = "volume" if mask is None and region == "mask" else region
    return [
        Row(case, method, s.region, s.metric, s.convention, s.value, s.unit, s.n)
        for s in measure(x, y, inside, metrics, size, region=where, unit=unit)
    ]


def _check(prediction: np.ndarray, reference: np.ndarray, mask: np.ndarray | None, case: str) -> None:
    if prediction.ndim != 4 or prediction.shape != reference.shape:
        raise InputError(
            f"case {case!r}: the prediction has shape {prediction.shape} and the reference {reference.shape}; "
            "both must be (channels, X, Y, Z) and equal: resample one onto the other"
        )
    if mask is not None and mask.shape != reference.shape[1:]:
        raise InputError(
            f"case {case!r}: the mask has shape {mask.shape} and the reference {reference.shape[1:]}; "
            "resample the mask onto the reference"
        )
    if mask is not None and mask.dtype != np.bool_:
        raise InputError(f"case {case!r}: the mask holds {mask.dtype}, not true and false; give mask != 0")
    if mask is not None and not mask.any():
        raise InputError(f"case {case!r}: its mask has no voxel, so there is nothing to measure; check the mask")


def _check_reference(truth: np.ndarray, case: str, needs_range: bool) -> None:
    if not np.isfinite(truth).all():
        raise InputError(f"case {case!r}: the reference has NaN or infinite voxels; replace them first")
    if needs_range and truth.max() == truth.min():
        raise InputError(
            f"case {case!r}: the reference is {truth.max():.6g} everywhere in the mask, so it has no range of "
            "its own; give a data_range, or check the mask"
        )
