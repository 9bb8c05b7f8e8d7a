"""Loader: the batch of step k, as a pure function of k.

There is no state: an epoch's order is a permutation drawn from (seed, epoch), a sample's augmentation from (seed,
step, rank, place). A resumed training therefore sees what an uninterrupted one would have seen, with nothing about
data in the checkpoint.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Int

from transmodal.data.augment import Sample, augment
from transmodal.data.batch import Batch, Task
from transmodal.data.modality import modality
from transmodal.data.prepared import PreparedCase, PreparedDataset
from transmodal.data.sampling import Sampling, extent, network_input, network_target, tile_around
from transmodal.errors import InputError, RecipeError

PATCHES_PER_CASE = 64
"""What counts as one epoch for patches, which have no natural number."""


class Loader:
    """Training batches from prepared cases.

    Args:
        dataset: the prepared cases.
        names: which of them.
        task: what goes in and out.
        sampling: what a sample is.
        batch_size: samples of a batch, for this process.
        seed: of order and augmentation.
        rank: number of this process.
        world: how many processes there are; each gets other samples.
        paired: False takes the target from another case, at the same relative place in the head.
        labels: whether batches carry the label map.
        handles_missing: whether a source may be missing.

    Raises:
        InputError: a case lacks a modality or its labels, or there is no sample at all.
        RecipeError: fewer than two cases for unpaired training.
    """

    def __init__(
        self,
        dataset: PreparedDataset,
        names: Sequence[str],
        task: Task,
        sampling: Sampling,
        *,
        batch_size: int,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        paired: bool = True,
        labels: bool = False,
        handles_missing: bool = False,
    ):
        self.cases = [dataset.case(name) for name in names]
        self.task, self.sampling = task, sampling
        self.batch_size, self.seed, self.rank, self.world = batch_size, seed, rank, world
        self.paired, self.labels = paired, labels
        for case in self.cases:
            _check(case, task, labels, handles_missing)
        if not paired and len({case.subject for case in self.cases}) < 2:
            raise RecipeError(
                "unpaired training takes the target from another person; give at least two to train on"
            )
        self._items = _items(self.cases, sampling)
        if not len(self._items):
            raise InputError(f"{dataset.path}: the training cases have no slice with a voxel of the mask")
        self._order = lru_cache(maxsize=2)(self._permutation)

    @property
    def items(self) -> int:
        """Samples of an epoch."""
        return len(self._items)

    def batch(self, step: int) -> Batch:
        """The batch of one step of this process."""
        samples, present, names, axis = [], [], [], self._axis(step)
        for place in range(self.batch_size):
            number = (step * self.world + self.rank) * self.batch_size + place
            rng = np.random.default_rng([self.seed, step, self.rank, place])
            sample, there, name = self._sample(number, axis, rng)
            samples.append(sample)
            present.append(there)
            names.append(name)
        labels = [sample.labels for sample in samples if sample.labels is not None]
        return Batch(
            source=_stacked([sample.source for sample in samples]),
            target=_stacked([sample.target for sample in samples]),
            present=_stacked(present),
            mask=_stacked([sample.mask for sample in samples]),
            extent=_stacked([sample.extent for sample in samples]),
            axis=axis,
            cases=tuple(names),
            paired=self.paired,
            step=step,
            labels=_stacked(labels).int() if labels else None,
        )

    def _axis(self, step: int) -> int | None:
        """One plane for the whole batch: the planes take turns."""
        return self.sampling.axes[step % len(self.sampling.axes)]

    def _sample(self, number: int, axis: int | None, rng: np.random.Generator) -> tuple[Sample, np.ndarray, str]:
        epoch, place = divmod(number, len(self._items))
        which, index = self._items[self._order(epoch)[place]]
        case = self.cases[which]
        if len(self.sampling.axes) > 1:
            # An item of "planes" is a fraction of the head; the slice nearest to it along this batch's axis.
            assert axis is not None
            slices = case.slices[axis]
            index = slices[index * (len(slices) - 1) // max(_planes(case) - 1, 1)]
        tile = tile_around(self.sampling, case.grid.shape, case.box, axis, int(index), rng)
        images = {name: case.values(name) for name in self.task.sources if name in case.modalities}
        source, present = network_input(images, case.fits, self.task, tile, axis)
        partner, where = (case, tile) if self.paired else self._partner(which, axis, int(index), rng)
        targets = {name: partner.values(name) for name in self.task.targets}
        labels = partner.labels() if self.labels else None
        sample = Sample(
            source=source,
            target=network_target(targets, partner.fits, self.task, where, axis),
            mask=_squeezed(tile.cut(case.mask()[None]), axis),
            labels=None if labels is None else _squeezed(where.cut(labels), axis),
            extent=extent(tile, case.box),
            background=self._background(case, partner),
        )
        bounded = all(case.fits[name].bounded for name in images)
        return augment(sample, self.sampling, axis, bounded, rng), present, case.name

    def _partner(self, which: int, axis: int | None, index: int, rng: np.random.Generator):  # type: ignore[no-untyped-def]
        """Another person's case, and the tile at about the same place in the head."""
        own = self.cases[which]
        others = [case for case in self.cases if case.subject != own.subject]
        other = others[int(rng.integers(len(others)))]
        if axis is not None:
            (low, high), (start, stop) = own.box[axis], other.box[axis]
            index = round(start + (index - low) / max(high - 1 - low, 1) * (stop - 1 - start))
        return other, tile_around(self.sampling, other.grid.shape, other.box, axis, index, rng)

    def _background(self, case: PreparedCase, partner: PreparedCase) -> tuple[float, ...]:
        empty = []
        for name in self.task.sources:
            value = case.fits[name].background if name in case.fits else 0.0
            empty += [value] * modality(name).channels * self.task.neighbours
        for name in self.task.targets:
            empty += [partner.fits[name].background] * modality(name).channels
        return tuple(empty)

    def _permutation(self, epoch: int) -> Int[np.ndarray, " I"]:
        return np.random.default_rng([self.seed, epoch]).permutation(len(self._items))


def _items(cases: Sequence[PreparedCase], sampling: Sampling) -> Int[np.ndarray, "I 2"]:
    """(case, slice) for every slice with a head in it; (case, number) for patches and for all three planes."""
    found = []
    for which, case in enumerate(cases):
        axis = sampling.axes[0]
        if axis is None:
            indices: Sequence[int] = range(PATCHES_PER_CASE)
        elif len(sampling.axes) > 1:
            indices = range(_planes(case))
        else:
            indices = case.slices[axis]
        found += [(which, index) for index in indices]
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def _planes(case: PreparedCase) -> int:
    return max(len(slices) for slices in case.slices)


def _check(case: PreparedCase, task: Task, labels: bool, handles_missing: bool) -> None:
    needed = task.targets if handles_missing else (*task.sources, *task.targets)
    for name in needed:
        if name not in case.modalities:
            raise InputError(f"case {case.name}: has no {name}; add it, exclude the case, or leave {name} out")
    if not any(name in case.modalities for name in task.sources):
        raise InputError(f"case {case.name}: has none of the sources {', '.join(task.sources)}; exclude it")
    if labels and case.labels() is None:
        raise InputError(
            f"case {case.name}: has no label map, which this method needs; add one, or exclude the case"
        )


def _squeezed(values: np.ndarray, axis: int | None) -> np.ndarray:
    return values if axis is None else values.squeeze(axis + 1)


def _stacked(arrays: Sequence[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(arrays))
