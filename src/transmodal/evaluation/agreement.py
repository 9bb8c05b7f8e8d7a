"""Agreement: do two measurements of the same subjects give the same numbers? Correlation alone does not say so.

One number for each subject and side, such as the mean FA of a tract; the unit is the subject. "Made" is synthetic,
"measured" is what it stands for, and a difference is made minus measured.

References:
    Bland, Altman, "Statistical methods for assessing agreement between two methods of clinical measurement",
    The Lancet 327, 1986. https://doi.org/10.1016/S0140-6736(86)90837-8
    Carkeet, "Exact parametric confidence intervals for Bland-Altman limits of agreement", Optometry and Vision
    Science 92, 2015. https://doi.org/10.1097/OPX.0000000000000513
    McGraw, Wong, "Forming inferences about some intraclass correlation coefficients", Psychological Methods 1,
    1996: ICC(A,1), which Shrout and Fleiss (1979) call ICC(2,1). https://doi.org/10.1037/1082-989X.1.1.30
    Lin, "A concordance correlation coefficient to evaluate reproducibility", Biometrics 45, 1989, with the
    variance as corrected in Biometrics 56, 2000, p. 324. https://doi.org/10.2307/2532051
    Linnet, "Estimation of the linear relationship between the measurements of two methods with proportional
    errors", Statistics in Medicine 9, 1990 (Deming regression, jackknife). https://doi.org/10.1002/sim.4780091210
    Bonett, Wright, "Sample size requirements for estimating Pearson, Kendall and Spearman correlations",
    Psychometrika 65, 2000 (interval of Spearman's ρ). https://doi.org/10.1007/BF02294183
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from transmodal.errors import InputError
from transmodal.evaluation.statistics import LEVEL

FEWEST = 3
"""Subjects below which nothing is said about agreement."""

_NONE = (math.nan, math.nan)
Sides = Float[np.ndarray, " n"]


@dataclass(frozen=True)
class Estimate:
    """A number and the ends of its 95 % interval; NaN where it is undefined.

    Attributes:
        value: the number.
        low: lower end.
        high: upper end.
    """

    value: float
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class Agreement:
    """How made numbers agree with measured ones, over subjects.

    Attributes:
        n: subjects.
        measured: mean of the measured numbers.
        made: mean of the made ones.
        bias: mean difference, in the unit of the numbers.
        lower: the lower limit of agreement, bias - 1.96 sd of the differences.
        upper: the upper one.
        drift: slope of the difference against the mean of both sides (ordinary least squares): below 0, large
            numbers are made too small and small ones too large.
        icc: ICC(A,1), absolute agreement of single measurements.
        ccc: Lin's concordance correlation.
        slope: Deming regression of made on measured, both with the same error; 1 is agreement.
        spread: standard deviation of the made numbers divided by that of the measured ones.
        spearman: rank correlation.
        kendall: Kendall's τ-b.
    """

    n: int
    measured: float
    made: float
    bias: Estimate
    lower: Estimate
    upper: Estimate
    drift: Estimate
    icc: Estimate
    ccc: Estimate
    slope: Estimate
    spread: float
    spearman: Estimate
    kendall: float


def agree(made: Sides, measured: Sides) -> Agreement:
    """All of it, for one region.

    Args:
        made: one finite number for each subject.
        measured: the same subjects in the same order.

    Raises:
        InputError: fewer than three subjects, other lengths, or a number that is not finite.
    """
    made, measured = _sides(made, measured)
    bias, lower, upper = limits(made, measured)
    return Agreement(
        n=len(made),
        measured=float(measured.mean()),
        made=float(made.mean()),
        bias=bias,
        lower=lower,
        upper=upper,
        drift=_line((made + measured) / 2, made - measured),
        icc=icc(np.stack([made, measured], axis=1)),
        ccc=concordance(made, measured),
        slope=deming(made, measured),
        spread=_ratio(made.std(ddof=1), measured.std(ddof=1)),
        spearman=spearman(made, measured),
        kendall=kendall(made, measured),
    )


def limits(made: Sides, measured: Sides) -> tuple[Estimate, Estimate, Estimate]:
    """Bias, lower and upper limit of agreement (Bland and Altman), each with its interval.

    The limits hold 95 % of the differences of further subjects if these are normal. Their intervals are Carkeet's
    exact ones: a quantile of a normal sample by the non-central t distribution.
    """
    from scipy import stats

    made, measured = _sides(made, measured)
    gap = made - measured
    n, mean, sd = len(gap), float(gap.mean()), float(gap.std(ddof=1))
    z = float(stats.norm.ppf((1 + LEVEL) / 2))
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * sd / math.sqrt(n)
    near, far = (float(stats.nct.ppf(q, n - 1, z * math.sqrt(n))) * sd / math.sqrt(n)
                 for q in ((1 - LEVEL) / 2, (1 + LEVEL) / 2))  # fmt: skip
    return (
        Estimate(mean, mean - half, mean + half),
        Estimate(mean - z * sd, mean - far, mean - near),
        Estimate(mean + z * sd, mean + near, mean + far),
    )


def icc(table: Float[np.ndarray, "n k"]) -> Estimate:
    """ICC(A,1): two-way random effects, absolute agreement, single measurement, with its interval.

    A constant difference between the columns lowers it. Undefined (NaN) where nothing varies.

    Args:
        table: subjects down, measurements across; at least two each.
    """
    from scipy import stats

    n, k = table.shape
    grand = table.mean()
    rows = k * ((table.mean(axis=1) - grand) ** 2).sum() / (n - 1)
    columns = n * ((table.mean(axis=0) - grand) ** 2).sum() / (k - 1)
    rest = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0, keepdims=True) + grand
    error = (rest**2).sum() / ((n - 1) * (k - 1))
    below = rows + (k - 1) * error + k * (columns - error) / n
    if below <= 0:
        return Estimate(math.nan)
    value = float((rows - error) / below)
    if value >= 1 or error <= 0:
        return Estimate(value, *((value, value) if value >= 1 else _NONE))
    a, b = k * value / (n * (1 - value)), 1 + k * value * (n - 1) / (n * (1 - value))
    freedom = (a * columns + b * error) ** 2 / (
        (a * columns) ** 2 / (k - 1) + (b * error) ** 2 / ((n - 1) * (k - 1))
    )
    up = float(stats.f.ppf((1 + LEVEL) / 2, n - 1, freedom))
    down = float(stats.f.ppf((1 + LEVEL) / 2, freedom, n - 1))
    mixed = k * columns + (k * n - k - n) * error
    low = n * (rows - up * error) / (up * mixed + n * rows)
    high = n * (down * rows - error) / (mixed + n * down * rows)
    return Estimate(value, float(low), float(high))


def concordance(made: Sides, measured: Sides) -> Estimate:
    """Lin's concordance correlation: how close points lie to the line of identity; interval by Fisher's z.

    Variances have n in the divisor, as in the paper.
    """
    made, measured = _sides(made, measured)
    covariance = float(((made - made.mean()) * (measured - measured.mean())).mean())
    both = float(made.var() + measured.var() + (made.mean() - measured.mean()) ** 2)
    if both <= 0:
        return Estimate(math.nan)
    value = 2 * covariance / both
    width = math.sqrt(made.var() * measured.var())
    r = covariance / width if width > 0 else 0.0
    if abs(value) >= 1 or r == 0 or len(made) < FEWEST:
        return Estimate(value, *((value, value) if abs(value) >= 1 else _NONE))
    apart = (made.mean() - measured.mean()) ** 2 / width
    variance = (
        (1 - r**2) * value**2 / ((1 - value**2) * r**2)
        + 2 * value**3 * (1 - value) * apart / (r * (1 - value**2) ** 2)
        - value**4 * apart**2 / (2 * r**2 * (1 - value**2) ** 2)
    ) / (len(made) - 2)
    return Estimate(value, *_by_z(value, math.sqrt(max(float(variance), 0.0))))


def deming(made: Sides, measured: Sides) -> Estimate:
    """Slope of made on measured where both have errors of the same size; interval by the jackknife.

    Least squares of made on measured would be too flat: it takes what was measured for the truth.
    """
    from scipy import stats

    made, measured = _sides(made, measured)
    n, value = len(made), _orthogonal(made, measured)
    without = [_orthogonal(np.delete(made, i), np.delete(measured, i)) for i in range(n)]
    pseudo = n * value - (n - 1) * np.array(without)
    if n < FEWEST or not np.isfinite(pseudo).all():
        return Estimate(value)
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 2)) * float(pseudo.std(ddof=1)) / math.sqrt(n)
    return Estimate(value, value - half, value + half)


def spearman(made: Sides, measured: Sides) -> Estimate:
    """Rank correlation, with the interval of Bonett and Wright."""
    from scipy import stats

    made, measured = _sides(made, measured)
    if not (np.ptp(made) > 0 and np.ptp(measured) > 0):
        return Estimate(math.nan)
    value = float(stats.spearmanr(made, measured).statistic)
    if abs(value) >= 1 or len(made) <= FEWEST:
        return Estimate(value)
    return Estimate(value, *_by_z(value, math.sqrt((1 + value**2 / 2) / (len(made) - 3))))


def kendall(made: Sides, measured: Sides) -> float:
    """Kendall's τ-b: how many more pairs of subjects keep their order than lose it."""
    from scipy import stats

    made, measured = _sides(made, measured)
    return float(stats.kendalltau(made, measured).statistic)


def _orthogonal(made: Sides, measured: Sides) -> float:
    across, up = measured.var(), made.var()
    both = ((made - made.mean()) * (measured - measured.mean())).mean()
    if both == 0:
        return 0.0 if across > up else math.nan
    return float((up - across + math.hypot(up - across, 2 * both)) / (2 * both))


def _line(x: Sides, y: Sides) -> Estimate:
    """The slope of ordinary least squares, with its interval."""
    from scipy import stats

    if not np.ptp(x) > 0:
        return Estimate(math.nan)
    fitted = stats.linregress(x, y)
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(x) - 2)) * float(fitted.stderr)
    return Estimate(float(fitted.slope), float(fitted.slope) - half, float(fitted.slope) + half)


def _by_z(value: float, deviation: float) -> tuple[float, float]:
    from scipy import stats

    middle, half = math.atanh(value), float(stats.norm.ppf((1 + LEVEL) / 2)) * deviation
    return math.tanh(middle - half), math.tanh(middle + half)


def _ratio(above: float, below: float) -> float:
    return float(above / below) if below > 0 else math.nan


def _sides(made: Sides, measured: Sides) -> tuple[Sides, Sides]:
    made, measured = np.asarray(made, dtype=np.float64), np.asarray(measured, dtype=np.float64)
    if made.shape != measured.shape or made.ndim != 1 or len(made) < FEWEST:
        raise InputError(
            f"agreement needs one made and one measured number for each of {FEWEST} subjects or more; there are "
            f"{made.size} and {measured.size}"
        )
    if not (np.isfinite(made).all() and np.isfinite(measured).all()):
        raise InputError("agreement: some numbers are infinite or undefined; leave these subjects out first")
    return made, measured
