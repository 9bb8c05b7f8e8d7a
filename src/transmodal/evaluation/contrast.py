"""Contrast of lesions: what of it survives, what spreads, and what a method shows where nothing is.

A lesion's contrast is its mean minus that of the tissue around it. Three numbers for each case:

- *kept*: the slope through the origin of made on true contrast, over all lesions. 1: as much as there should be;
  0: lesions vanish; below 0: they come out the wrong way round.
- *echo*: root mean square of the change at places without a lesion, divided by that of the true contrasts: what
  inserting lesions does elsewhere.
- *false*: root mean square of (made - measured) contrast at the places before anything was inserted, divided by
  the true contrast of full lesions: the spots that a method shows, or misses, by itself. A lesion whose kept
  contrast is not well above it cannot be told from them.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Probe:
    """One place, size and intensity, by one method.

    Attributes:
        case: the subject.
        method: what made the volume.
        kind: ``lesion``; ``sham``, a place without one while lesions lie elsewhere; ``plain``, nothing inserted.
        place: voxel of the middle.
        diameter: in mm.
        intensity: 1 is a full lesion; 0 for ``plain``.
        true: contrast that the target should gain (``plain``: that it has), in judged units.
        made: contrast that it gains (``plain``: has).
    """

    case: str
    method: str
    kind: str
    place: tuple[int, int, int]
    diameter: float
    intensity: float
    true: float
    made: float


def kept(probes: Iterable[Probe]) -> float:
    """Slope through the origin of made on true contrast, of lesions; NaN where no contrast was due."""
    own = [one for one in probes if one.kind == "lesion"]
    below = sum(one.true**2 for one in own)
    return sum(one.true * one.made for one in own) / below if below > 0 else math.nan


def echo(probes: Sequence[Probe]) -> float:
    """What lesions do elsewhere, in units of their own contrast."""
    return _ratio([one.made for one in probes if one.kind == "sham"],
                  [one.true for one in probes if one.kind == "lesion"])  # fmt: skip


def false(probes: Sequence[Probe]) -> float:
    """Contrast that a method shows or misses without any lesion, in units of that of full lesions."""
    most = max((one.intensity for one in probes), default=1.0)
    full = [one.true for one in probes if one.kind == "lesion" and one.intensity == most]
    return _ratio([one.made - one.true for one in probes if one.kind == "plain"], full)


def _ratio(above: Sequence[float], below: Sequence[float]) -> float:
    if not above or not below or not any(below):
        return math.nan
    return float(np.sqrt(np.mean(np.square(above))) / np.sqrt(np.mean(np.square(below))))
