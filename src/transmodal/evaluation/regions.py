"""Regions: what a synthetic volume says of every structure of a label map, beside what was measured there."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from transmodal.data.box import bounds, slices
from transmodal.data.layout import read_table
from transmodal.errors import InputError
from transmodal.evaluation.opened import Opened
from transmodal.shapes import Mask

SHELL_MM = 5.0
"""How far from a lesion the tissue lies that it is compared with."""

_CODES = ("index", "code", "label")

RESERVED = ("mask", "volume", "lesion", "healthy", "lesion contrast")
"""What :func:`regions` calls regions that are no structure of a label map."""


@dataclass(frozen=True)
class Region:
    """One region of one case, by one method.

    Attributes:
        case: the subject.
        method: what made the volume.
        region: its name.
        measured: mean of the measured volume, in the unit of the files.
        made: mean of the synthetic one.
        error: mean absolute difference; NaN where the value is a difference of two regions.
        voxels: how many count.
    """

    case: str
    method: str
    region: str
    measured: float
    made: float
    error: float
    voxels: int


def regions(
    opened: Opened,
    case: str,
    method: str,
    *,
    names: Mapping[int, str] | None = None,
    lesion: Sequence[int] = (),
    smallest: int = 20,
) -> Iterator[Region]:
    """The mask as a whole, every label in it, and, if codes are named, the lesions against what lies around them.

    Args:
        opened: a case.
        case: its name.
        method: what made it.
        names: label → name of the structure, see :func:`united`.
        lesion: labels that are lesions. They give three more regions: ``lesion``, ``healthy`` (the rest of the
            mask), and ``lesion contrast``, the mean in the lesion minus that of the tissue within 5 mm of it (a
            voxel is left between them).
        smallest: structures of fewer voxels are left out: their mean is chance.

    Raises:
        InputError: a volume in colour, which has no mean.
    """
    if len(opened.made) != 1:
        raise InputError(f"case {case!r}: is in colour, and colour has no mean; agreement is of one channel")
    made, measured = (side[0].astype(np.float64) for side in (opened.made, opened.measured))
    inside = opened.inside if opened.inside is not None else np.ones(made.shape, dtype=bool)

    def region(name: str, where: Mask) -> Region:
        x, y = made[where], measured[where]
        error = float(np.abs(x - y).mean())
        return Region(case, method, name, float(y.mean()), float(x.mean()), error, int(where.sum()))

    yield region("mask" if opened.inside is not None else "volume", inside)
    labels = opened.labels
    if labels is None:
        return
    for name, codes in united(map(int, np.unique(labels[inside])), names or {}).items():
        where = inside & np.isin(labels, codes)
        if int(where.sum()) >= smallest:
            yield region(name, where)
    ill = np.isin(labels, list(lesion)) & inside
    if not lesion or int(ill.sum()) < smallest:
        return
    yield region("lesion", ill)
    yield region("healthy", inside & ~ill)
    around = shell(ill, opened.grid.spacing) & inside
    if int(around.sum()) >= smallest:
        true, found = (float(side[ill].mean() - side[around].mean()) for side in (measured, made))
        yield Region(case, method, "lesion contrast", true, found, float("nan"), int(ill.sum()))


def united(codes: Iterable[int], names: Mapping[int, str]) -> dict[str, list[int]]:
    """Name of a structure → its labels; left and right of one name are one structure. 0 is background.

    Args:
        codes: labels of a map.
        names: label → name; others are called by their number.
    """
    found: dict[str, list[int]] = {}
    for code in codes:
        if code:
            found.setdefault(names.get(code, str(code)), []).append(code)
    return found


def shell(structure: Mask, spacing: tuple[float, float, float], width_mm: float = SHELL_MM) -> Mask:
    """What lies around a structure, from a voxel outside it to ``width_mm`` further."""
    from scipy import ndimage

    box = tuple(
        slice(max(0, side.start - reach), side.stop + reach)
        for side, reach in zip(
            slices(bounds(structure)),
            (int(np.ceil((width_mm + max(spacing)) / edge)) + 1 for edge in spacing),
            strict=True,
        )
    )
    distance: Float[np.ndarray, "X Y Z"] = ndimage.distance_transform_edt(~structure[box], sampling=spacing)
    found = np.zeros_like(structure)
    # The next voxel holds some of the structure itself.
    found[box] = (distance > max(spacing)) & (distance <= max(spacing) + width_mm)
    return found


def region_names(table: Path) -> dict[int, str]:
    """Label → name from a table with the columns ``index`` (or ``code``, ``label``) and ``name``, as in BIDS.

    Labels may share a name: they are one structure.

    Raises:
        InputError: no such table or columns, a label that is no whole number, or a name that means something else.
    """
    rows = read_table(table)
    code = next((column for column in _CODES if column in rows[0]), None)
    if code is None or "name" not in rows[0]:
        raise InputError(f"{table}: has the columns {', '.join(rows[0])}; 'index' and 'name' are needed")
    try:
        names = {int(row[code]): row["name"] for row in rows if row["name"]}
    except ValueError as problem:
        raise InputError(f"{table}: a label in column {code!r} is no whole number ({problem})") from problem
    for label, name in names.items():
        if name in RESERVED or (name.isdecimal() and name != str(label)):
            raise InputError(
                f"{table}: label {label} is called {name!r}, which is the name of another region "
                f"({', '.join(RESERVED)}, or a label without a name); give it another name"
            )
    return names
