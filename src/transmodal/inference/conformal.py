"""Conformal: how wide an interval must be so that it holds a stated share of a new person's voxels.

Split conformal prediction for hierarchical data (Lee, Barber and Willett, "Distribution-free inference with
hierarchical data", arXiv 2306.06342): people are exchangeable, the voxels of one are not. The score of a voxel
is abs(measured - synthetic) / (spread + floor), in the normalised values of the target. The distributions of
scores of the calibration's people are averaged, one person one vote however many voxels; a further person, of
whom nothing is known, has the last vote, and infinite scores. An interval for the share p reaches to the
quantile p of that mixture. Averaged over new people like those, at least p of the voxels in the mask are held:
not of every person, nor in every region. With n people no p above n / (n + 1) can be promised, and what is held
lies up to 1 / (n + 1) above p.

A model never leaves the window of its target, so no interval holds a measured value beyond it: such a voxel has an
infinite score.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from transmodal.errors import InputError, RecipeError, Refused
from transmodal.schema import make, plain

FORMAT = "transmodal-calibration-1"
LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""Shares at which coverage is reported."""
_GRID = 1000
"""Steps in which quantiles of scores are kept."""
_LEAST_FLOOR = 1e-3


@dataclass(frozen=True)
class Reliability:
    """What intervals held of people that had no vote in them: each left out of the calibration once.

    Attributes:
        nominal: the stated share.
        held: the mean over people of the share of their voxels that was held.
        least: that of the person with the least.
        most: that of the person with the most.
    """

    nominal: float
    held: float
    least: float
    most: float


@dataclass(frozen=True)
class Calibration:
    """What turns a spread into intervals; ``calibration.json`` in a model's folder.

    Attributes:
        people: how many had a vote.
        floor: target → what is added to the spread, normalised.
        scores: target → quantiles of the averaged distribution of scores, in equal steps from 0 to 1, without
            infinite ones.
        reliability: target → one entry for each of :data:`LEVELS` that so many people allow.
        sha256: of the weights that were calibrated.
        inference: the ``[inference]`` settings that were, without ``batch_size``.
        masked: whether voxels counted in masks that were given, and not in the foreground.
        format: :data:`FORMAT`.
    """

    people: int
    floor: Mapping[str, float]
    scores: Mapping[str, tuple[float, ...]]
    reliability: Mapping[str, tuple[Reliability, ...]] = field(default_factory=dict)
    sha256: str = ""
    inference: Mapping[str, Any] = field(default_factory=dict)
    masked: bool = False
    format: str = FORMAT

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dict(plain(self))

    @classmethod
    def from_dict(cls, stored: Any, where: str) -> "Calibration":
        """From what :meth:`to_dict` gave.

        Raises:
            InputError: it is something else.
        """
        if not isinstance(stored, Mapping) or stored.get("format") != FORMAT:
            raise InputError(f"{where}: is not of format {FORMAT}; run transmodal calibrate again")
        found = make(cls, stored, where)
        numbers = [*found.floor.values(), *(value for scores in found.scores.values() for value in scores)]
        whole = all(len(scores) <= _GRID + 1 for scores in found.scores.values()) and all(np.isfinite(numbers))
        if not whole or found.people < 1 or set(found.scores) != set(found.floor):
            raise InputError(f"{where}: is damaged; run transmodal calibrate again")
        return found

    @property
    def most(self) -> float:
        """The largest share that can be promised."""
        return self.people / (self.people + 1)

    def promises(self, target: str, share: float) -> bool:
        """Whether :meth:`reach` would not refuse."""
        try:
            self.reach(target, share)
        except Refused:
            return False
        return True

    def reach(self, target: str, share: float) -> float:
        """How many times (spread + floor) an interval goes to each side.

        Raises:
            RecipeError: no share.
            Refused: more than so many people can promise, or than lies within the target's window.
        """
        if not 0 < share < 1:
            raise RecipeError(f"--interval {share:g}: give a share above 0 and below 1, such as 0.9")
        if share > self.most:
            raise Refused(
                f"--interval {share:g}: a calibration on {self.people} people can promise shares above 0 and "
                f"up to {self.most:.3f}; calibrate with more, or ask for less"
            )
        # Rounded up, so that the promise is kept.
        place = min(int(np.ceil(round(_GRID * share / self.most, 6))), _GRID)
        known = self.scores[target]
        if place >= len(known):
            within = (len(known) - 1) / _GRID * self.most
            raise Refused(
                f"--interval {share:g}: so many measured voxels of {target} lie beyond the model's window that no "
                f"more than {max(0.0, within):.3f} can be promised; ask for less, or train with a wider window"
            )
        return known[place]

    def bounds(
        self,
        target: str,
        answer: Float32[np.ndarray, "C X Y Z"],
        spread: Float32[np.ndarray, "C X Y Z"],
        share: float,
    ) -> tuple[Float32[np.ndarray, "C X Y Z"], Float32[np.ndarray, "C X Y Z"]]:
        """Lower and upper values, normalised."""
        width = np.float32(self.reach(target, share)) * (spread + np.float32(self.floor[target]))
        return answer - width, answer + width


def calibrated(
    residuals: Mapping[str, Sequence[Float[np.ndarray, "..."]]],
    spreads: Mapping[str, Sequence[Float[np.ndarray, "..."]]],
) -> Calibration:
    """A calibration from people that no network was trained or chosen on.

    Args:
        residuals: target → for each person, measured - synthetic of voxels in the mask, normalised; infinite where
            the measured value lies beyond the window.
        spreads: the same voxels' spread.

    Raises:
        InputError: fewer than two people.
    """
    people = len(next(iter(residuals.values())))
    if people < 2:
        raise InputError(f"{people} people to calibrate on; at least two are needed, and nine for 90 %")
    floor, scores, reliability = {}, {}, {}
    for target, errors in residuals.items():
        floor[target] = max(_LEAST_FLOOR, float(np.median([np.median(s) for s in spreads[target]])))
        each = [
            np.sort(np.ravel(np.abs(e)) / (np.ravel(s) + floor[target]))
            for e, s in zip(errors, spreads[target], strict=True)
        ]
        scores[target] = tuple(_averaged(each))
        reliability[target] = tuple(_reliability(each))
    return Calibration(people, floor, scores, reliability)


def _averaged(each: Sequence[Float[np.ndarray, " _"]]) -> list[float]:
    """Quantiles, in steps of 1 / _GRID, of the mean of the distributions."""
    values = np.concatenate(each)
    votes = np.concatenate([np.full(len(own), 1 / len(own) / len(each)) for own in each])
    order = np.argsort(values, kind="stable")
    values, reached = values[order], np.cumsum(votes[order])
    steps = np.arange(_GRID + 1) / _GRID
    place = np.searchsorted(reached, steps - 1e-9)
    found = values[np.minimum(place, len(values) - 1)]
    return [float(v) for v in found[np.isfinite(found)]]


def _reliability(each: Sequence[Float[np.ndarray, " _"]]) -> list[Reliability]:
    found: dict[float, list[float]] = {}
    for left_out, own in enumerate(each):
        rest = [scores for number, scores in enumerate(each) if number != left_out]
        others = Calibration(len(rest), {}, {"": tuple(_averaged(rest))})
        for level in LEVELS:
            if level <= others.most and others.promises("", level):
                held = float(np.searchsorted(own, others.reach("", level), side="right") / len(own))
                found.setdefault(level, []).append(held)
    return [Reliability(n, float(np.mean(held)), min(held), max(held)) for n, held in found.items()]
