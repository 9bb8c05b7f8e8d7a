"""predict(): a method over a whole case, tile by tile. Works on the prepared grid, in normalised values."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from jaxtyping import Float32

from transmodal.data.box import bounds
from transmodal.data.intensity import IntensityFit
from transmodal.data.sampling import Sampling, extent, network_input
from transmodal.data.task import Task
from transmodal.data.tile import PLANES, Tile
from transmodal.errors import InputError, RecipeError
from transmodal.inference.blend import Blend
from transmodal.inference.choice import runner
from transmodal.inference.engine import Precision, Samples, Translator
from transmodal.inference.thrift import Portion, frugally
from transmodal.inference.tiles import cover
from transmodal.shapes import Mask, Voxels

Thing = TypeVar("Thing")


@dataclass(frozen=True)
class InferenceSettings:
    """How a volume is put together: the ``[inference]`` table.

    Attributes:
        overlap: smallest shared fraction of neighbouring tiles within a plane or of patches.
        batch_size: tiles in one forward pass.
        planes: planes whose predictions are averaged, for a 2D model; empty for the plane it was trained on.
            Averaging several planes only makes sense for a model that has seen them (``view = "planes"``).
        precision: ``fp32``, or ``bf16`` autocast, faster and good to about 0.5 % of the range.
        interpolation: spline order of the way back to the input's grid, 0 to 3.
    """

    overlap: float = 0.25
    batch_size: int = 8
    planes: tuple[str, ...] = ()
    precision: Precision = "fp32"
    interpolation: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < 1:
            raise RecipeError(f"inference.overlap = {self.overlap}: give a fraction from 0 to below 1")
        if self.batch_size < 1:
            raise RecipeError(f"inference.batch_size = {self.batch_size}: must be at least 1")
        if not 0 <= self.interpolation <= 3:
            raise RecipeError(f"inference.interpolation = {self.interpolation}: give a spline order from 0 to 3")
        unknown = set(self.planes) - set(PLANES)
        if unknown:
            raise RecipeError(f"inference.planes: {sorted(unknown)[0]!r} is not one of {', '.join(PLANES)}")


@dataclass(frozen=True)
class Scan:
    """What a method is given of one case.

    Attributes:
        images: source → its values in their own units, on one grid; a missing one is left out.
        fits: source → its normalisation.
        mask: the head, on the same grid.
        case: name, for the batch and for messages.
    """

    images: Mapping[str, Voxels]
    fits: Mapping[str, IntensityFit]
    mask: Mask
    case: str = ""


@dataclass(frozen=True)
class Translation:
    """A method, and how it is led over whole cases.

    Attributes:
        method: in evaluation mode, its device is used; or an exported one.
        task: the order of sources and targets.
        sampling: what the method saw in training.
        settings: the ``[inference]`` table.
        fill: normalised value of empty space in the target.
    """

    method: Translator
    task: Task
    sampling: Sampling
    settings: InferenceSettings
    fill: float = 0.0


def predict(how: Translation, scan: Scan) -> Float32[np.ndarray, "Cout X Y Z"]:
    """Translate one case, in normalised values.

    Tiles without a voxel of the mask are not looked at; where only such tiles lie, the result is ``how.fill``.
    Where memory is short, fewer tiles at once and then smaller ones are tried, with a warning (:mod:`.thrift`).

    Raises:
        InputError: an empty mask.
        RecipeError: planes asked of a model of patches.
    """
    method, settings, mask, case = how.method, how.settings, scan.mask, scan.case
    if not mask.any():
        raise InputError(f"{case}: its mask is empty; give another mask, or check the first source")
    shape = (mask.shape[0], mask.shape[1], mask.shape[2])
    axes = views(how.sampling, settings)
    run = runner(method, settings.precision)

    def seen_along(axis: int | None) -> Float32[np.ndarray, "Cout X Y Z"]:
        def view(portion: Portion) -> Float32[np.ndarray, "Cout X Y Z"]:
            blend = Blend(how.task.out_channels, shape, axis)
            tiles = [t for t in cover(shape, portion.size, settings.overlap) if mask[t.inside(shape)[0]].any()]
            for group in _groups(tiles, portion.batch):
                answer = run(_samples(group, how.task, scan, axis))
                if answer.shape[1] != how.task.out_channels:
                    raise InputError(
                        f"{case}: the networks answered with {answer.shape[1]} channels where the targets have "
                        f"{how.task.out_channels}; they are not those of this model, copy the whole folder"
                    )
                for tile, values in zip(group, answer, strict=True):
                    blend.add(tile, values if axis is None else np.expand_dims(values, axis + 1))
            return blend.result(how.fill)

        first = Portion(settings.batch_size, tile_size(how.sampling, method.multiple, axis))
        return frugally(view, first, method.multiple, case)

    answers = map(seen_along, axes)
    total = next(answers)
    for number, answer in enumerate(answers, start=2):
        total += (answer - total) / number
    if not np.isfinite(total).all():
        raise InputError(f"{case}: the networks answered with NaN or infinity; the model is damaged or diverged")
    return total


def tile_size(sampling: Sampling, multiple: int, axis: int | None) -> tuple[int, int, int]:
    """Voxels of a tile along X, Y, Z: the training size rounded up to what the networks accept."""
    rounded = [-(-n // multiple) * multiple for n in sampling.size]
    if axis is not None:
        rounded.insert(axis, 1)
    return rounded[0], rounded[1], rounded[2]


def views(sampling: Sampling, settings: InferenceSettings) -> list[int | None]:
    """The axes that slices are taken across, one after the other; None for patches.

    Raises:
        RecipeError: planes asked of a model of patches.
    """
    if sampling.spatial == 3:
        if settings.planes:
            raise RecipeError("inference.planes: this model sees patches, not slices; leave planes out")
        return [None]
    default = "axial" if sampling.view == "planes" else sampling.view
    return [PLANES[plane] for plane in settings.planes or (default,)]


def _samples(tiles: Sequence[Tile], task: Task, scan: Scan, axis: int | None) -> Samples:
    box = bounds(scan.mask)
    inputs = [network_input(scan.images, scan.fits, task, tile, axis) for tile in tiles]
    heads = [tile.cut(scan.mask[None]) for tile in tiles]
    if axis is not None:
        heads = [head.squeeze(axis + 1) for head in heads]
    return Samples(
        source=np.stack([source for source, _ in inputs]),
        present=np.stack([present for _, present in inputs]),
        mask=np.stack(heads),
        extent=np.stack([extent(tile, box) for tile in tiles]),
        axis=axis,
        cases=(scan.case,) * len(tiles),
    )


def _groups(things: Sequence[Thing], size: int) -> Iterator[Sequence[Thing]]:
    for start in range(0, len(things), size):
        yield things[start : start + size]
