"""Recognition: does a synthetic map look most like the measured map of its own person?

Each synthetic map is correlated (Pearson) with the measured maps of all subjects, in the voxels that lie in the
masks of both. If the person's own map wins, the map is recognised. The margin says how clearly: own correlation
minus the best of the others'.

It needs subjects on one grid. If they are not in a common space, anatomy alone makes every person recognisable,
and then the copy of a source is recognised, too.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from transmodal.errors import InputError
from transmodal.shapes import Mask

_MOST = 200_000
"""Voxels of a map that are compared; a larger one is looked at in even steps."""


@dataclass(frozen=True)
class Sample:
    """What is kept of a map: its values at even steps along every axis, and which of them lie in the mask.

    Attributes:
        values: of one map.
        inside: which count.
        shape: of the thinned map.
    """

    values: Float32[np.ndarray, " n"]
    inside: Float[np.ndarray, " n"]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Recognition:
    """What became of one synthetic map.

    Attributes:
        case: whose.
        own: correlation with the measured map of the same subject.
        best: the largest correlation with that of another subject.
        other: who that is.
        rank: 1 where the own map wins; ties count against it.
        among: measured maps that could have won: the own one and those of other subjects.
    """

    case: str
    own: float
    best: float
    other: str
    rank: int
    among: int

    @property
    def margin(self) -> float:
        """Own correlation minus the best other one; above 0 where the person is recognised."""
        return self.own - self.best


def sample(values: Float[np.ndarray, "X Y Z"], mask: Mask) -> Sample:
    """Thin out a map of one channel."""
    step = max(1, math.ceil((values.size / _MOST) ** (1 / 3)))
    thin = np.s_[::step, ::step, ::step]
    kept = values[thin].astype(np.float32)
    return Sample(kept.ravel(), mask[thin].astype(np.float32).ravel(), kept.shape)


def recognise(
    made: Mapping[str, Sample], measured: Mapping[str, Sample], subjects: Mapping[str, str] | None = None
) -> list[Recognition]:
    """For every synthetic map, how it compares with its own measured map and those of all other subjects.

    Args:
        made: case → synthetic map.
        measured: case → measured map, of at least the same cases.
        subjects: case → subject, of subjects with several cases: their other cases are nobody else's.

    Raises:
        InputError: fewer than two subjects, or maps of different shapes.
    """
    people = {case: (subjects or {}).get(case, case) for case in measured}
    shapes = {one.shape for one in (*made.values(), *measured.values())}
    if len(set(people.values())) < 2 or len(shapes) > 1:
        raise InputError(
            f"recognition needs maps of two subjects or more on one grid; there are "
            f"{len(set(people.values()))} subjects and maps of {len(shapes)} shapes"
        )
    found = []
    for case, map_ in made.items():
        others = [other for other in measured if people[other] != people[case]]
        likeness = {other: _correlation(map_, measured[other]) for other in others}
        own = _correlation(map_, measured[case])
        best = max(likeness, key=lambda other: likeness[other])
        rank = 1 + sum(value >= own for value in likeness.values())
        found.append(Recognition(case, own, likeness[best], best, rank, 1 + len(others)))
    return found


def _correlation(one: Sample, other: Sample) -> float:
    """Pearson's in both masks; -1 where one of them does not vary there."""
    both = one.inside * other.inside > 0
    x, y = one.values[both].astype(np.float64), other.values[both].astype(np.float64)
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return -1.0
    return float(np.corrcoef(x, y)[0, 1])
