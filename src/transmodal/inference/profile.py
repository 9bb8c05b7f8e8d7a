"""Profile: what the training images of one modality have in common, kept in a model so that it knows its own kind.

Of every number of :mod:`transmodal.data.traits` a profile keeps the median over the training cases and how far one
more case is expected to lie from it. A variance from few cases is drawn towards a usual one as if that had been
seen in five more (the conjugate prior of a normal variance), so that three cases make a usable profile; the
variance of the median itself, π/2n of a case's, is added.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, permutations, product
from typing import Any

import numpy as np
from jaxtyping import Float

from transmodal.data.traits import DETAIL, GROUPS, LAYOUT, NUMBERS, PATTERN
from transmodal.errors import RecipeError
from transmodal.schema import make, plain

USUAL = {
    "core": 0.12, "levels": 0.08, "depths": 0.06, "texture": 0.06, "detail": 0.12,
    "outline": 0.12, "profile": 0.08, "size": 0.08,
}  # fmt: skip
"""Standard deviation between people that a number of a group is taken to have before any was seen."""
_AS_IF, _LEFT_OUT = 5, 64
_FAR = 1e9
"""No number of a profile is as large, and none that has to be positive as small as one over it."""
ASPECTS: Mapping[str, tuple[str, ...]] = {
    "pattern": PATTERN, "levels": ("levels",), "detail": DETAIL, "layout": LAYOUT,
}  # fmt: skip
"""What is judged by itself → the groups of numbers that belong to it."""
Turn = tuple[tuple[int, int, int], tuple[bool, bool, bool]]
"""Which axis of an image is taken for each of R, A, S, and which of these are reversed."""
UPRIGHT: Turn = ((0, 1, 2), (False, False, False))


@dataclass(frozen=True)
class Profile:
    """What training images of one modality have in common.

    Attributes:
        cases: how many there were.
        window: whether levels are physical.
        centre: group of traits → median of its numbers.
        spread: group of traits → how far one more case lies from it, as a standard deviation.
        furthest: aspect → the largest distance of a training case from the profile of the others.
        spacing: smallest and largest voxel edges in mm, by R, A, S.
        litres: smallest and largest foreground.
    """

    cases: int
    window: bool
    centre: Mapping[str, tuple[float, ...]]
    spread: Mapping[str, tuple[float, ...]]
    furthest: Mapping[str, float]
    spacing: tuple[tuple[float, float, float], tuple[float, float, float]]
    litres: tuple[float, float]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dict(plain(self))

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Profile":
        """From what :meth:`to_dict` gave.

        Raises:
            RecipeError: it is something else.
        """
        found = make(cls, stored, "model.profiles")
        sizes = [{group: len(side.get(group, ())) for group in GROUPS} for side in (found.centre, found.spread)]
        positive = [*chain(*found.spread.values()), *found.litres, *chain(*found.spacing), found.cases]
        others = [*chain(*found.centre.values()), *found.furthest.values()]
        bounded = min(positive) > 1 / _FAR and max(map(abs, [*positive, *others])) < _FAR
        if sizes != [NUMBERS, NUMBERS] or not bounded:
            raise RecipeError("model.profiles: is not what training images have in common")
        return found

    def distance(self, traits: Mapping[str, Any], aspect: str, turn: Turn = UPRIGHT) -> float:
        """How far an image lies from the profile: the root mean square over an aspect's numbers, in spreads."""
        return float(np.sqrt(np.mean(self._deviations(traits, ASPECTS[aspect], turn) ** 2)))

    def surprise(self, traits: Mapping[str, Any]) -> float:
        """-2 × the mean log density (normal, up to a constant) of the numbers that depend on the contrast."""
        groups = (*PATTERN, *DETAIL)
        scale = np.concatenate([np.asarray(self.spread[group]) for group in groups])
        return float(np.mean(self._deviations(traits, groups, UPRIGHT) ** 2 + 2 * np.log(scale)))

    def _deviations(self, traits: Mapping[str, Any], groups: Sequence[str], turn: Turn) -> Float[np.ndarray, " N"]:
        found = []
        for group in groups:
            values = np.asarray(traits[group], dtype=float)
            if group in LAYOUT:
                values = _turned(values, turn)
            found.append((values - self.centre[group]) / np.asarray(self.spread[group]))
        return np.concatenate(found)


def learn(cases: Sequence[Mapping[str, Any]]) -> Profile:
    """The profile of a cohort.

    Args:
        cases: the traits of one image each, at least one; see :func:`transmodal.data.traits.traits`.
    """
    found = _fitted(cases, {})
    if len(cases) < 2:
        return found
    furthest = dict.fromkeys(ASPECTS, 0.0)
    for i in range(0, len(cases), -(-len(cases) // _LEFT_OUT)):
        others = _fitted([*cases[:i], *cases[i + 1 :]], {})
        furthest = {name: max(most, others.distance(cases[i], name)) for name, most in furthest.items()}
    return _fitted(cases, furthest)


def turns() -> list[Turn]:
    """All ways to lay a head that are not upright; left and right look alike."""
    orders = [(a, b, 3 - a - b) for a, b in permutations(range(3), 2)]
    reverses = [(False, front, up) for front, up in product((False, True), repeat=2)]
    return [turn for turn in product(orders, reverses) if turn != UPRIGHT]


def _fitted(cases: Sequence[Mapping[str, Any]], furthest: Mapping[str, float]) -> Profile:
    n = len(cases)
    centre, spread = {}, {}
    for group in GROUPS:
        table = np.array([case[group] for case in cases], dtype=float)
        centre[group] = tuple(float(v) for v in np.median(table, axis=0))
        squares = ((table - table.mean(axis=0)) ** 2).sum(axis=0)
        variance = (squares + _AS_IF * USUAL[group] ** 2) / (n - 1 + _AS_IF)
        spread[group] = tuple(float(v) for v in np.sqrt(variance * (1 + np.pi / 2 / n)))
    edges = np.array([case["spacing"] for case in cases], dtype=float)
    low, high = (tuple(float(v) for v in side) for side in (edges.min(axis=0), edges.max(axis=0)))
    litres = [float(case["litres"]) for case in cases]
    return Profile(
        cases=n,
        window=bool(cases[0]["window"]),
        centre=centre,
        spread=spread,
        furthest=furthest,
        spacing=((low[0], low[1], low[2]), (high[0], high[1], high[2])),
        litres=(min(litres), max(litres)),
    )


def _turned(values: Float[np.ndarray, " N"], turn: Turn) -> Float[np.ndarray, " N"]:
    """The same numbers as if the image lay otherwise; one row an axis."""
    order, reverse = turn
    rows = values.reshape(3, -1)[list(order)]
    return np.concatenate([row[::-1] if back else row for row, back in zip(rows, reverse, strict=True)])
