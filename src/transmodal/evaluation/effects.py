"""Effects: does a difference between groups of people, or a trend with age, survive in what was made?

References:
    Hedges, "Distribution theory for Glass's estimator of effect size and related estimators", Journal of
    Educational Statistics 6, 1981. https://doi.org/10.3102/10769986006002107
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from transmodal.errors import InputError
from transmodal.evaluation.agreement import FEWEST, Sides
from transmodal.evaluation.statistics import LEVEL

_LEVELS = 5
"""A column of numbers with more different values than this is a trend, not groups."""

_DRAWS = 2000


@dataclass(frozen=True)
class Effect:
    """One effect, in the measured and in the made numbers of the same subjects.

    Attributes:
        name: what is compared: ``old - young``, or ``trend`` with a number such as age.
        kind: ``g``, Hedges' standardised difference of two groups, or ``r``, Pearson's correlation with a number.
        n: subjects.
        measured: the effect in the measured numbers.
        made: the effect in the made ones.
        change: made minus measured.
        low: lower end of the 95 % interval of the change: percentile bootstrap over subjects, drawn within groups.
        high: upper end.
    """

    name: str
    kind: str
    n: int
    measured: float
    made: float
    change: float
    low: float
    high: float


def effects(
    made: Mapping[str, float], measured: Mapping[str, float], column: Mapping[str, str], *, seed: int = 0
) -> list[Effect]:
    """The effect of a column of a table on a region's numbers; of every two groups, or of a number.

    Args:
        made: subject → number.
        measured: the same.
        column: subject → what the table says; subjects without a word are left out.
        seed: of the bootstrap.

    Returns:
        Nothing where fewer than two groups have three subjects.

    Raises:
        InputError: no subject has a word.
    """
    people = [name for name in made if name in measured and column.get(name)]
    if not people:
        raise InputError("no subject that was judged has a value in the column of groups; check names and column")
    x, y = (np.array([side[name] for name in people], dtype=np.float64) for side in (made, measured))
    words = [column[name] for name in people]
    rng = np.random.default_rng(seed)
    numbers = _numbers(words)
    if numbers is not None:
        if len(people) <= FEWEST:
            return []
        everyone = np.arange(len(people))
        draws = (rng.choice(everyone, len(everyone)) for _ in range(_DRAWS))
        changes = [_r(x[d], numbers[d]) - _r(y[d], numbers[d]) for d in draws]
        return [_effect("trend", "r", len(people), _r(y, numbers), _r(x, numbers), changes)]
    groups = {word: np.flatnonzero(np.array(words) == word) for word in sorted(set(words))}
    large = [word for word, members in groups.items() if len(members) >= FEWEST]
    found = []
    for one, two in combinations(large, 2):
        first, second = groups[one], groups[two]
        drawn = [(rng.choice(first, len(first)), rng.choice(second, len(second))) for _ in range(_DRAWS)]
        changes = [hedges(x[b], x[a]) - hedges(y[b], y[a]) for a, b in drawn]
        own = (hedges(y[second], y[first]), hedges(x[second], x[first]))
        found.append(_effect(f"{two} - {one}", "g", len(first) + len(second), *own, changes))
    return found


def hedges(one: Sides, other: Sides) -> float:
    """Hedges' g: difference of means in units of the pooled standard deviation, corrected for few subjects.

    Args:
        one: two numbers or more; its mean minus that of ``other`` is the difference.
        other: the same.
    """
    freedom = len(one) + len(other) - 2
    pooled = ((len(one) - 1) * one.var(ddof=1) + (len(other) - 1) * other.var(ddof=1)) / freedom
    if not pooled > 0:
        return math.nan
    return float((one.mean() - other.mean()) / math.sqrt(pooled) * (1 - 3 / (4 * freedom - 1)))


def _effect(name: str, kind: str, n: int, measured: float, made: float, changes: list[float]) -> Effect:
    usable = np.array(changes)[np.isfinite(changes)]
    low, high = np.quantile(usable, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) if len(usable) else (math.nan, math.nan)
    return Effect(name, kind, n, measured, made, made - measured, float(low), float(high))


def _numbers(words: list[str]) -> np.ndarray | None:
    try:
        numbers = np.array([float(word) for word in words])
    except ValueError:
        return None
    return numbers if len(set(words)) > _LEVELS and np.isfinite(numbers).all() else None


def _r(x: Sides, y: Sides) -> float:
    return float(np.corrcoef(x, y)[0, 1]) if np.ptp(x) > 0 and np.ptp(y) > 0 else math.nan
