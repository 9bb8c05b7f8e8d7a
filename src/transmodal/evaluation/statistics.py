"""Statistics over subjects: intervals of means, paired differences, tests, effect size, equivalence.

The unit is always the subject: one number for each. Nothing here pools voxels or slices.

References:
    Efron, "Better bootstrap confidence intervals", JASA 82, 1987 (BCa). https://doi.org/10.1080/01621459.1987.10478410
    Hesterberg, "What teachers should know about the bootstrap", The American Statistician 69, 2015, section 4.2:
    levels widened for small n. https://doi.org/10.1080/00031305.2015.1089789
    Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statistics 6, 1979.
    Kerby, "The simple difference formula", Comprehensive Psychology 3, 2014 (matched-pairs rank-biserial r).
    Schuirmann, "A comparison of the two one-sided tests procedure …", J. Pharmacokinet. Biopharm. 15, 1987 (TOST).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from transmodal.errors import InputError, RecipeError

LEVEL = 0.95
"""Coverage that intervals aim at."""

SMALLEST_BOOTSTRAP = 8
"""Subjects from which the bootstrap covers as well as Student's t does for normal values; fewer get t."""

RESAMPLES = 9999
"""Samples that the bootstrap draws."""

_EXACT_WITH_TIES = 16
"""Differences up to which all 2ⁿ signs are tried where there are ties; the normal approximation above."""


@dataclass(frozen=True)
class Interval:
    """A confidence interval of a mean.

    Attributes:
        low: its lower end.
        high: its upper end.
        how: the method, in words for a table's footnote.
    """

    low: float
    high: float
    how: str


@dataclass(frozen=True)
class Difference:
    """Second minus first, subject by subject.

    Attributes:
        n: subjects with a finite value on both sides.
        mean: of the differences.
        interval: of that mean; None below two subjects.
        p: of Wilcoxon's signed-rank test, two-sided; 1 where no difference differs from 0.
        effect: matched-pairs rank-biserial correlation in [-1, 1], see :func:`rank_biserial`.
        left_out: subjects that lack a finite value on one side.
    """

    n: int
    mean: float
    interval: Interval | None
    p: float
    effect: float
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Equivalence:
    """Two one-sided tests of a mean or middle against ± a margin.

    Attributes:
        margin: the largest difference that does not matter, in the unit of the values.
        p: the larger of the two one-sided p; equivalence is shown at 5 % where it is below 0.05.
        test: which test.
        n: subjects.
    """

    margin: float
    p: float
    test: str
    n: int


def interval_of_mean(
    values: Sequence[float] | np.ndarray,
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
    widened: bool = True,
) -> Interval | None:
    """The interval of the mean over subjects: BCa bootstrap, and Student's t for fewer than eight.

    A bootstrap of n values is too narrow by about √((n - 1) / n) and by the normal instead of the t quantile.
    Hesterberg widens the levels of the percentile interval for that: α/2 becomes Φ(-√(n / (n - 1)) t(n - 1)).
    Here the same levels go into BCa. Coverage by simulation is in ``docs/metrics.md``.

    Args:
        values: one finite number for each subject.
        level: coverage to aim at.
        resamples: samples that the bootstrap draws.
        seed: of these samples; equal values and seed give equal intervals.
        widened: False for the textbook BCa, which covers too little for small n.

    Returns:
        None below two subjects: one subject says nothing about others.

    Raises:
        InputError: a value is not finite.
        RecipeError: a level outside (0, 1).
    """
    if not 0 < level < 1:
        raise RecipeError(f"level = {level}: give a coverage between 0 and 1, such as 0.95")
    found = _finite(values)
    n = len(found)
    if n < 2:
        return None
    from scipy import special, stats

    quantile = float(special.stdtrit(n - 1, (1 + level) / 2))
    # Equal up to rounding: the bootstrap has nothing to draw from.
    flat = np.ptp(found) <= 1e-12 * np.abs(found).max()
    if n < SMALLEST_BOOTSTRAP or flat:
        mean, half = float(found.mean()), quantile * float(found.std(ddof=1)) / math.sqrt(n)
        return Interval(mean - half, mean + half, "Student t")
    coverage = 1 - 2 * float(special.ndtr(-quantile * math.sqrt(n / (n - 1)))) if widened else level
    drawn = stats.bootstrap(
        (found,), np.mean, confidence_level=coverage, n_resamples=resamples, method="BCa", rng=seed
    ).confidence_interval
    words = f"BCa bootstrap, {resamples} resamples" + (", levels widened for n" if widened else "")
    return Interval(float(drawn.low), float(drawn.high), words)


def paired(first: Mapping[str, float], second: Mapping[str, float], *, seed: int = 0) -> Difference:
    """Compare two methods on the same subjects: second minus first.

    Args:
        first: subject → value.
        second: the same; a subject with one finite value is left out and named.
        seed: of the bootstrap.

    Raises:
        InputError: no subject has both.
    """
    names = list(dict.fromkeys([*first, *second]))
    nan = math.nan
    pairs = {name: second.get(name, nan) - first.get(name, nan) for name in names}
    values = {name: value for name, value in pairs.items() if math.isfinite(value)}
    if not values:
        raise InputError("no subject has a finite value on both sides, so nothing can be compared in pairs")
    differences = np.array(list(values.values()))
    return Difference(
        n=len(values),
        mean=float(differences.mean()),
        interval=interval_of_mean(differences, seed=seed),
        p=wilcoxon(differences),
        effect=rank_biserial(differences),
        left_out=tuple(name for name in names if name not in values),
    )


def wilcoxon(
    differences: Sequence[float] | np.ndarray,
    *,
    alternative: Literal["two-sided", "greater", "less"] = "two-sided",
) -> float:
    """The p of Wilcoxon's signed-rank test that differences lie symmetrically about 0.

    Zeros are dropped. Exact up to 50 differences without ties and up to 16 with ties, else the normal
    approximation with its correction for ties. Two-sided, n differences cannot give less than 2^(1 - n): with five
    subjects no p is below 0.06.

    Args:
        differences: one for each subject.
        alternative: ``greater`` where differences above 0 speak for it.

    Raises:
        InputError: a value is not finite.
    """
    kept = _finite(differences)
    kept = kept[kept != 0]
    if not len(kept):
        return 1.0
    from scipy import stats

    if len(np.unique(np.abs(kept))) < len(kept) <= _EXACT_WITH_TIES:
        return _by_signs(kept, alternative)
    method = "exact" if len(kept) <= 50 and len(np.unique(np.abs(kept))) == len(kept) else "asymptotic"
    return float(stats.wilcoxon(kept, alternative=alternative, method=method).pvalue)


def rank_biserial(differences: Sequence[float] | np.ndarray) -> float:
    """Effect size r = (W₊ - W₋) / (W₊ + W₋), with W the sums of ranks of |difference| by sign, in [-1, 1].

    1: every subject rises; 0: rises and falls weigh the same, or nothing moves. Zeros are dropped, as in the test.

    Raises:
        InputError: a value is not finite.
    """
    kept = _finite(differences)
    kept = kept[kept != 0]
    if not len(kept):
        return 0.0
    from scipy import stats

    ranks = stats.rankdata(np.abs(kept))
    return float((np.sign(kept) * ranks).sum() / ranks.sum())


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's correction: each p times how many are at least as large, made monotone, at most 1; order kept."""
    corrected = [0.0] * len(ps)
    largest = 0.0
    for rank, index in enumerate(np.argsort(ps, kind="stable")):
        largest = max(largest, min(1.0, ps[index] * (len(ps) - rank)))
        corrected[index] = largest
    return corrected


def equivalence(
    differences: Sequence[float] | np.ndarray,
    margin: float,
    *,
    test: Literal["wilcoxon", "t"] = "wilcoxon",
) -> Equivalence:
    """Whether differences lie within ± margin: two one-sided tests (TOST). No difference found is not this.

    Args:
        differences: one for each subject, in the unit of the margin.
        margin: the largest difference that does not matter. State it before looking at the results.
        test: Wilcoxon's signed-rank test of the shifted differences, or Student's t.

    Raises:
        InputError: a value is not finite, or fewer than two subjects.
        RecipeError: a margin that is not above 0.
    """
    found = _finite(differences)
    if not 0 < margin < math.inf:
        raise RecipeError(f"margin = {margin}: give the largest difference that does not matter, above 0")
    if len(found) < 2:
        raise InputError(f"an equivalence test needs two subjects or more, there are {len(found)}")
    if test == "wilcoxon":
        above = wilcoxon(found + margin, alternative="greater")
        below = wilcoxon(found - margin, alternative="less")
    else:
        above, below = _t_tail(found + margin), _t_tail(margin - found)
    return Equivalence(
        margin, max(above, below), "Wilcoxon signed-rank" if test == "wilcoxon" else "Student t", len(found)
    )


def _t_tail(values: np.ndarray) -> float:
    """The one-sided p that the mean is above 0."""
    from scipy import stats

    spread = values.std(ddof=1)
    if spread == 0:
        return 0.0 if values.mean() > 0 else 1.0
    return float(stats.t.sf(values.mean() / (spread / math.sqrt(len(values))), len(values) - 1))


def _by_signs(kept: np.ndarray, alternative: str) -> float:
    """The exact p with ties: the distribution of W₊ over all 2ⁿ signs of the averaged ranks."""
    from scipy import stats

    doubled = np.rint(2 * stats.rankdata(np.abs(kept))).astype(int)
    ways = np.zeros(doubled.sum() + 1)
    ways[0] = 1
    for rank in doubled:
        ways[rank:] = ways[rank:] + ways[: len(ways) - rank].copy()
    found = doubled[kept > 0].sum()
    least, most = ways[: found + 1].sum() / ways.sum(), ways[found:].sum() / ways.sum()
    return float({"greater": most, "less": least}.get(alternative, min(1.0, 2 * min(least, most))))


def _finite(values: Sequence[float] | np.ndarray) -> np.ndarray:
    found = np.asarray(values, dtype=np.float64).ravel()
    if not np.isfinite(found).all():
        raise InputError(
            f"{int((~np.isfinite(found)).sum())} of {len(found)} values are infinite or undefined; count them and "
            "leave them out first"
        )
    return found
