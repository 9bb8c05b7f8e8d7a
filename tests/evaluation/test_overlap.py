"""Dice and HD95 against MONAI and worked examples."""

import math

import numpy as np
import pytest
import torch
from monai.metrics import compute_dice, compute_hausdorff_distance
from scipy import ndimage

from transmodal.evaluation.overlap import dice, hausdorff95

SPACING = (1.0, 1.5, 2.0)


def blobs(seed: int) -> tuple[np.ndarray, np.ndarray]:
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(2, 20, 22, 18)), (0, 2, 2, 2))
    return field[0] > 0.02, field[0] + 0.5 * field[1] > 0.03


@pytest.mark.filterwarnings("ignore:monai:FutureWarning")
@pytest.mark.parametrize("seed", range(4))
def test_both_are_monais(seed: int) -> None:
    made, measured = blobs(seed)
    one, two = (torch.from_numpy(side)[None, None].float() for side in (made, measured))
    assert dice(made, measured) == pytest.approx(float(compute_dice(one, two)), abs=1e-6)
    expected = compute_hausdorff_distance(one, two, include_background=True, percentile=95, spacing=SPACING)
    assert hausdorff95(made, measured, SPACING) == pytest.approx(float(expected), rel=1e-6)


def test_a_box_moved_by_three_voxels() -> None:
    measured = np.zeros((20, 20, 20), dtype=bool)
    measured[5:11, 5:11, 5:11] = True
    made = np.roll(measured, 3, axis=2)
    assert dice(made, measured) == pytest.approx(0.5)
    assert hausdorff95(made, measured, SPACING) == pytest.approx(6.0)
    assert (dice(made, made), hausdorff95(made, made, SPACING)) == (1, 0)


def test_what_is_not_there_has_no_distance() -> None:
    some, none = np.ones((3, 3, 3), dtype=bool), np.zeros((3, 3, 3), dtype=bool)
    assert dice(some, none) == 0
    assert math.isnan(dice(none, none))
    assert math.isnan(hausdorff95(some, none, SPACING))
    assert math.isnan(hausdorff95(none, none, SPACING))
