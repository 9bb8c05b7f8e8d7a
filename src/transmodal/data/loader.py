"""Loader: the batch of step k, as a pure function of k.

There is no state: an epoch's order is a permutation drawn from (seed, epoch), a sample's augmentation from (seed,
step, place). A resumed training therefore sees what an uninterrupted one would have seen, with nothing about data
in the checkpoint.

Several processes share one batch: process r of n holds its places rB to (r + 1)B - 1, and together they hold,
sample by sample and augmentation included, what one process with a batch of nB would.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Int

from transmodal.data.augment import Sample, augment
from transmodal.data.batch import Batch
from transmodal.data.modality import modality
from transmodal.data.prepared import PreparedCase, PreparedDataset
from transmodal.data.sampling import Sampling, extent, network_input, network_target, tile_around
from transmodal.data.task import Task
from transmodal.data.tile import Tile
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
        world: how many processes there are; each gets its share of a batch of ``world * batch_size``.
        paired: False takes the target (and labels) from another person, at about the same place in the head;
            a case then needs sources or targets, not both.
        labels: whether batches carry the label map.
        handles_missing: whether a source may be missing.

    Raises:
        InputError: a case lacks a modality or its labels, or there is no sample at all.
        RecipeError: bad numbers, a task that ``sampling`` does not fit, or nobody to pair a case with.
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
        _check_numbers(task, sampling, batch_size, rank, world)
        self.task, self.sampling = task, sampling
        self.batch_size, self.seed, self.rank, self.world = batch_size, seed, rank, world
        self.paired, self.labels = paired, labels
        self._moved = sampling.misalign.who(task.sources)
        if sampling.drop and not handles_missing:
            raise RecipeError(f"sampling.drop = {sampling.drop}: this method needs all its sources; leave it at 0")
        cases = [dataset.case(name) for name in names]
        for case in cases:
            _check(case, task, labels, handles_missing, paired)
        self.cases = [case for case in cases if _has_sources(case, task, handles_missing)]
        self._partners = [case for case in cases if set(task.targets) <= set(case.modalities)]
        if not paired:
            _check_partners(self.cases, self._partners)
        self._items = _items(self.cases, sampling)
        if not len(self._items):
            raise InputError(f"{dataset.path}: the training cases have no slice with a voxel of the mask")
        self._order = lru_cache(maxsize=2)(self._permutation)

    @property
    def items(self) -> int:
        """Samples of an epoch."""
        return len(self._items)

    @property
    def images(self) -> int:
        """Different images that an epoch after the other can show of the sources, at most.

        Raises:
            RecipeError: chance makes ever new ones; says by which setting.
        """
        sampling = self.sampling
        check_repeats(sampling, self.task)
        for case in self.cases:
            self._check_window(case)
        return len(self._items) * len(sampling.axes) * (2 if 0 < sampling.flip < 1 else 1)

    def _check_window(self, case: PreparedCase) -> None:
        """A window that is smaller than the head is laid by chance."""
        for axis in self.sampling.axes:
            sizes = [high - low for along, (low, high) in enumerate(case.box) if along != axis]
            if axis is None or any(n > window for n, window in zip(sizes, self.sampling.size, strict=True)):
                raise RecipeError(
                    f"sampling.size = {list(self.sampling.size)} is smaller than the head of case {case.name} "
                    f"({sizes} voxels), so that windows are laid by chance and nothing can be kept; enlarge it"
                )

    def batch(self, step: int) -> Batch:
        """The batch of one step of this process."""
        samples, present, names, axis = [], [], [], self._axis(step)
        for place in range(self.rank * self.batch_size, (self.rank + 1) * self.batch_size):
            number = step * self.world * self.batch_size + place
            # The zero keeps the numbers of earlier versions.
            rng = np.random.default_rng([self.seed, step, 0, place])
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
        which, index = (int(i) for i in self._items[self._order(epoch)[place]])
        case = self.cases[which]
        if len(self.sampling.axes) > 1:
            # An item of "planes" is a fraction of the head; the slice nearest to it along this batch's axis.
            assert axis is not None
            slices = case.slices[axis]
            index = slices[index * (len(slices) - 1) // max(_planes(case) - 1, 1)]
        tile = tile_around(self.sampling, case.box, axis, index, rng)
        images = {name: case.values(name) for name in self._seen(case, rng)}
        moved = {name: (case.grid, self.sampling.misalign.draw(rng, case.grid, axis)) for name in self._moved}
        source, present = network_input(images, case.fits, self.task, tile, axis, moved)
        partner, where = (case, tile) if self.paired else self._partner(which, axis, index, rng)
        targets = {name: partner.values(name) for name in self.task.targets}
        labels = partner.labels() if self.labels else None
        sample = Sample(
            source=source,
            target=network_target(targets, partner.fits, self.task, where, axis),
            mask=_squeezed(tile.cut(case.mask()[None]), axis),
            labels=None if labels is None else _squeezed(where.cut(labels), axis),
            extent=extent(tile, case.box),
            background=self._background(case, partner, images),
            contrast=tuple(
                name in images and case.fits[name].bounded
                for name, channels in zip(self.task.sources, self.task.source_channels, strict=True)
                for _ in range(channels)
            ),
            spacing=tuple(s for along, s in enumerate(case.grid.spacing) if along != axis),
        )
        return augment(sample, self.sampling, axis, rng), present, case.name

    def _seen(self, case: PreparedCase, rng: np.random.Generator) -> list[str]:
        """The sources that a sample shows: all there are, or by chance a part of them."""
        there = [name for name in self.task.sources if name in case.modalities]
        if len(there) < 2 or not self.sampling.drop or rng.random() >= self.sampling.drop:
            return there
        chosen = int(rng.integers(1, 2 ** len(there) - 1))
        return [name for place, name in enumerate(there) if chosen >> place & 1]

    def _partner(
        self, which: int, axis: int | None, index: int, rng: np.random.Generator
    ) -> tuple[PreparedCase, Tile]:
        """Another person's case, and the tile at about the same place in the head."""
        own = self.cases[which]
        others = [case for case in self._partners if case.subject != own.subject]
        other = others[int(rng.integers(len(others)))]
        if axis is not None:
            (low, high), (start, stop) = own.box[axis], other.box[axis]
            index = round(start + (index - low) / max(high - 1 - low, 1) * (stop - 1 - start))
        return other, tile_around(self.sampling, other.box, axis, index, rng)

    def _background(
        self, case: PreparedCase, partner: PreparedCase, seen: Mapping[str, object]
    ) -> tuple[float, ...]:
        empty = []
        for name in self.task.sources:
            # A missing source is zeros everywhere, in the corners of a turned slice too.
            value = case.fits[name].background if name in seen else 0.0
            empty += [value] * modality(name).channels * self.task.neighbours
        for name in self.task.targets:
            empty += [partner.fits[name].background] * modality(name).channels
        return tuple(empty)

    def _permutation(self, epoch: int) -> Int[np.ndarray, " I"]:
        return np.random.default_rng([self.seed, epoch]).permutation(len(self._items))


def check_repeats(sampling: Sampling, task: Task) -> None:
    """Whether the images of an epoch come again, as they must where something computed from them is kept.

    Raises:
        RecipeError: chance makes ever new ones; says by which setting.
    """
    for key in ("jitter", "rotate", "gamma", "drop"):
        if getattr(sampling, key):
            raise RecipeError(
                f"sampling.{key} = {getattr(sampling, key):g} makes a new image each time, so that nothing "
                f"computed from an image can be kept; set it to 0 (sampling.flip may stay)"
            )
    if sampling.misalign.who(task.sources):
        raise RecipeError("sampling.misalign makes a new image each time; leave it out to keep what is computed")


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


def _check_numbers(task: Task, sampling: Sampling, batch_size: int, rank: int, world: int) -> None:
    if (sampling.spatial, sampling.neighbours) != (task.spatial, task.neighbours):
        raise RecipeError(
            f"sampling.view = {sampling.view!r} with sampling.neighbours = {sampling.neighbours} does not fit "
            f"a task with spatial = {task.spatial} and neighbours = {task.neighbours}; make them agree"
        )
    if batch_size < 1:
        raise RecipeError(f"training.batch_size = {batch_size}: give 1 or more")
    if not 0 <= rank < world:
        raise RecipeError(f"rank = {rank} of world = {world}: ranks count from 0 to {world - 1}")


def _has_sources(case: PreparedCase, task: Task, handles_missing: bool) -> bool:
    there = [name in case.modalities for name in task.sources]
    return any(there) if handles_missing else all(there)


def _check_partners(cases: Sequence[PreparedCase], partners: Sequence[PreparedCase]) -> None:
    for case in cases:
        if not any(other.subject != case.subject for other in partners):
            raise RecipeError(
                f"case {case.name}: unpaired training takes the target from another person and there is none; "
                "add cases to train on"
            )


def _check(case: PreparedCase, task: Task, labels: bool, handles_missing: bool, paired: bool) -> None:
    targets = set(task.targets) <= set(case.modalities)
    sources = _has_sources(case, task, handles_missing)
    if not (targets and sources if paired else targets or sources):
        wanted = task.targets if sources else task.sources
        absent = [name for name in wanted if name not in case.modalities]
        raise InputError(f"case {case.name}: has no {', '.join(absent)}; add it, or exclude the case")
    if labels and case.labels() is None:
        raise InputError(
            f"case {case.name}: has no label map, which this method needs; add one, or exclude the case"
        )


def _squeezed(values: np.ndarray, axis: int | None) -> np.ndarray:
    return values if axis is None else values.squeeze(axis + 1)


def _stacked(arrays: Sequence[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(arrays))
