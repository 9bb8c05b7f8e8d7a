"""Sections: photographs or scans of one body in the order in which it was cut, as a volume.

Their numbers say where they lie, not their order in a folder: some were lost. A lost one is a copy of its nearest
neighbour and is marked, so that it is left out of the mask.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Shaped

from transmodal.data.files import natural
from transmodal.errors import InputError
from transmodal.progress import track, warn

PICTURES = (".png", ".tif", ".tiff", ".bmp", ".jpg", ".jpeg")
"""What a section may be stored as, beside raw planes."""
_LOST = 0.1
"""Of all sections, the most that may be lost."""
_UNEVEN = 0.05
"""Of the usual distance between sections, how far one may lie off its place."""


@dataclass(frozen=True)
class Section:
    """One section.

    Attributes:
        place: number in the body, as its name gives it.
        file: where it is.
    """

    place: float
    file: Path


@dataclass(frozen=True, eq=False)
class Sections:
    """A row of sections without holes.

    Attributes:
        values: uint8 or uint16, channels first; the last axis goes with the numbers.
        there: False for a copy in the place of one that is lost.
        first: number of the first.
        step: from one to the next.
    """

    values: Shaped[np.ndarray, "C X Y Z"]
    there: Bool[np.ndarray, " Z"]
    first: float
    step: float

    @property
    def places(self) -> np.ndarray:
        """The number of every section, of lost ones too."""
        return self.first + self.step * np.arange(len(self.there))

    @property
    def lost(self) -> list[float]:
        """The numbers of those that are lost."""
        return [round(float(place), 3) for place in self.places[~self.there]]

    def reaches(self, places: np.ndarray) -> Bool[np.ndarray, " N"]:
        """Whether a section that is there lies within half a step of a place."""
        own = self.places[self.there]
        return np.asarray(np.abs(places[:, None] - own).min(axis=1) <= self.step / 2 + 1e-6)


def in_order(found: Iterable[Section], what: str, where: Path) -> list[Section]:
    """Sections by their numbers; of several with one number, the first that was given.

    Raises:
        InputError: fewer than two.
    """
    by_place: dict[float, Section] = {}
    for section in found:
        by_place.setdefault(round(section.place, 4), section)
    if len(by_place) < 2:
        raise InputError(f"{where}: {len(by_place)} {what} where a row of sections is needed; check the folder")
    return [by_place[place] for place in sorted(by_place)]


def each_once(found: Iterable[Section], what: str) -> None:
    """Refuse two files at one place, where no rule says which one counts.

    Raises:
        InputError: names both.
    """
    by_place: dict[float, Section] = {}
    for section in found:
        first = by_place.setdefault(round(section.place, 4), section)
        if first is not section:
            raise InputError(
                f"{section.file}: {first.file} is the {what} with the number {section.place:g}, too; keep one"
            )


def thinned(sections: list[Section], every: int, what: str, where: Path) -> list[Section]:
    """Every n-th section by its place, so that a lost one is a gap and does not shift those behind it.

    Raises:
        InputError: fewer than two are left.
    """
    if every == 1:
        return sections
    places = np.array([section.place for section in sections])
    row = np.round((places - places[0]) / float(np.median(np.diff(places)))).astype(int)
    kept = [section for section, n in zip(sections, row, strict=True) if n % every == 0]
    if len(kept) < 2:
        raise InputError(
            f"{where}: of {len(sections)} {what}, every = {every} leaves {len(kept)}; give a smaller one"
        )
    return kept


def stack(
    sections: list[Section], read: Callable[[Path], Shaped[np.ndarray, "C X Y"]], what: str, where: Path
) -> Sections:
    """Read sections in order, one at a time.

    Args:
        sections: from :func:`in_order`.
        read: file → values.
        what: they are, for messages.
        where: they lie, for messages.

    Raises:
        InputError: too many are lost, numbers that are no row, or pictures of different size or type.
    """
    places = np.array([section.place for section in sections])
    step = float(np.median(np.diff(places)))
    row = np.round((places - places[0]) / step)
    if (np.abs((places - places[0]) / step - row) > _UNEVEN).any() or (np.diff(row) < 1).any():
        raise InputError(f"{where}: the numbers of {what} are no even row of step {step:g}; take out the odd ones")
    count = int(row[-1]) + 1
    lost = sorted(set(range(count)) - set(row.astype(int)))
    spelt = ", ".join(f"{places[0] + step * n:g}" for n in lost[:5]) + (" …" if len(lost) > 5 else "")
    if len(lost) > _LOST * count:
        raise InputError(
            f"{where}: of {count} {what} from {places[0]:g} to {places[-1]:g}, {len(lost)} are not there "
            f"({spelt}); copy them again, or take regions that lie next to each other"
        )
    if lost:
        warn(
            f"{where}: {len(lost)} of {count} {what} are lost ({spelt}); copies of neighbours stand in, outside "
            "the mask"
        )
    nearest = [int(np.abs(row - n).argmin()) for n in range(count)]
    first = read(sections[0].file)
    values = np.empty((*first.shape, count), first.dtype)
    last, own = -1, first
    for place, which in enumerate(track(nearest, what)):
        if which != last:
            own = read(sections[which].file)
            _check_alike(own, first, sections[which].file, sections[0].file)
            last = which
        values[..., place] = own
    there = np.isin(np.arange(count), row.astype(int))
    return Sections(values, there, float(places[0]), step)


def _check_alike(own: np.ndarray, first: np.ndarray, file: Path, before: Path) -> None:
    if own.shape != first.shape or own.dtype != first.dtype:
        here, there = (f"{'×'.join(map(str, v.shape[1:]))} {v.dtype} in {len(v)} channels" for v in (own, first))
        raise InputError(f"{file}: is {here} and {before.name} is {there}; sections of one body are alike")


def pictures(folder: Path) -> list[Path]:
    """The pictures in a folder, in natural order of their names."""
    if not folder.is_dir():
        return []
    found = [p for p in folder.iterdir() if p.suffix.lower() in PICTURES and not p.name.startswith(".")]
    return sorted(found, key=lambda p: natural(p.stem))


def shrunk(values: Shaped[np.ndarray, "C X Y"], by: int) -> Shaped[np.ndarray, "C _ _"]:
    """The mean of ``by`` × ``by`` pixels, of the same type; what fills no square at the far edges is left."""
    if by == 1:
        return values
    width, height = (n // by * by for n in values.shape[1:])
    squares = values[:, :width, :height].reshape(len(values), width // by, by, height // by, by)
    return np.round(squares.mean(axis=(2, 4), dtype=np.float32)).astype(values.dtype)
