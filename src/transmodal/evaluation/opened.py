"""Opened: the voxels of one case, synthetic beside measured, on one grid."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Shaped

from transmodal.data.grid import Grid
from transmodal.data.volume import Volume, read_volume
from transmodal.errors import InputError
from transmodal.evaluation.pairs import Pair
from transmodal.shapes import Mask, Voxels


@dataclass(frozen=True, eq=False)
class Opened:
    """What is compared for one case, in the unit of the files and in RAS+.

    Attributes:
        made: the synthetic volume.
        measured: the volume that was measured.
        inside: where voxels count; None for everywhere.
        labels: a label map; None where there is none.
        grid: of all of them.
    """

    made: Voxels
    measured: Voxels
    inside: Mask | None
    labels: Shaped[np.ndarray, "X Y Z"] | None
    grid: Grid


def open_pair(pair: Pair, *, with_labels: bool) -> Opened:
    """Read a case; volumes are turned and flipped to RAS+, never resampled.

    Args:
        pair: its files.
        with_labels: whether the label map is read.

    Raises:
        InputError: another grid, other channels, an empty mask, or a file that cannot be read.
    """
    prediction, reference = read_volume(pair.prediction), read_volume(pair.reference)
    made, truth = on_one_grid(prediction, reference)
    inside = marks = None
    if pair.mask is not None:
        inside = on_one_grid(read_volume(pair.mask, label=True), reference)[0].data[0] != 0
    if with_labels and pair.labels is not None:
        marks = on_one_grid(read_volume(pair.labels, label=True), reference)[0].data[0]
    if made.data.shape != truth.data.shape:
        raise InputError(
            f"{pair.prediction} has {len(made.data)} channel(s) and {pair.reference} {len(truth.data)}; "
            "compare colour with colour"
        )
    if inside is not None and not np.any(inside):
        raise InputError(f"{pair.mask}: the mask of case {pair.case!r} has no voxel; check the mask")
    return Opened(made.data, truth.data, inside, marks, truth.grid)


def on_one_grid(volume: Volume, reference: Volume) -> tuple[Volume, Volume]:
    """Both turned to RAS+.

    Raises:
        InputError: that does not put them on one grid.
    """
    turned, truth = volume.canonical(), reference.canonical()
    if turned.grid.same_as(truth.grid):
        return turned, truth
    raise InputError(
        f"{volume.name} lies on another grid than {reference.name}: {_place(volume.grid)} against "
        f"{_place(reference.grid)}; resample one onto the other. `transmodal synthesize` writes on the grid of "
        "its input, and `transmodal prepare` puts all volumes of a case on one: compare those"
    )


def _place(grid: Grid) -> str:
    x, y, z = grid.centre
    return f"{grid.describe()}, centred at ({x:.2f}, {y:.2f}, {z:.2f}) mm"
