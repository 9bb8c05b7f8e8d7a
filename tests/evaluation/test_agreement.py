"""Agreement against published tables, scipy, numpy's singular values and simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from transmodal.errors import InputError
from transmodal.evaluation import agreement
from transmodal.evaluation.agreement import agree, concordance, deming, icc, kendall, limits, spearman

JUDGES = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float)
"""Shrout and Fleiss (1979), table 2: six people, four judges."""

WRIGHT = np.array([494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427], float)
MINI = np.array([512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451], float)
"""Bland and Altman (1986), table 1: peak flow of 17 people by two meters, first readings, l/min."""


def pairs(n: int, seed: int, noise: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=n)
    return 0.8 * truth + noise * rng.normal(size=n) + 0.5, truth + noise * rng.normal(size=n)


def test_icc_of_the_published_table() -> None:
    """0.29 in Shrout and Fleiss; McGraw and Wong's interval, as R's psych prints it: 0.019 to 0.761."""
    found = icc(JUDGES)
    assert found.value == pytest.approx(0.2898, abs=5e-5)
    assert (found.low, found.high) == pytest.approx((0.019, 0.761), abs=5e-4)


def test_icc_counts_a_constant_difference_and_correlation_does_not() -> None:
    made, measured = pairs(40, 0)
    shifted = icc(np.stack([made + 5, measured], axis=1)).value
    assert shifted < 0.1 < 0.6 < icc(np.stack([made, measured], axis=1)).value
    assert spearman(made + 5, measured) == spearman(made, measured)


def test_limits_of_the_published_table() -> None:
    """The paper has -2.1 ± 38.8, with an interval of -22.0 to 17.8."""
    bias, lower, upper = limits(WRIGHT, MINI)
    assert bias.value == pytest.approx(-2.1, abs=0.05)
    assert (bias.low, bias.high) == pytest.approx((-22.0, 17.8), abs=0.1)
    assert upper.value - bias.value == pytest.approx(1.96 * 38.8, rel=1e-3)
    assert bias.value - lower.value == pytest.approx(upper.value - bias.value)
    assert upper.high - upper.value > upper.value - upper.low, "the exact interval is wider outwards"


@pytest.mark.parametrize("n", [5, 20])
def test_the_interval_of_a_limit_holds_it_in_95_of_100_studies(n: int) -> None:
    rng = np.random.default_rng(1)
    sample = rng.normal(size=n)
    bias, _, upper = limits(sample, np.zeros(n))
    near, far = ((end - bias.value) / sample.std(ddof=1) for end in (upper.low, upper.high))
    studies = rng.normal(size=(40_000, n))
    middle, sd = studies.mean(axis=1), studies.std(axis=1, ddof=1)
    held = (middle + near * sd <= 1.959964) & (middle + far * sd >= 1.959964)
    assert held.mean() == pytest.approx(0.95, abs=0.004)


def test_concordance_of_the_published_table() -> None:
    """Lin's coefficient of the same people, as Stata's ``concord`` prints it: 0.943, standard error 0.029."""
    found = concordance(MINI, WRIGHT)
    assert found.value == pytest.approx(0.943, abs=5e-4)
    deviation = (math.atanh(found.high) - math.atanh(found.low)) / 2 / 1.959964 * (1 - found.value**2)
    assert deviation == pytest.approx(0.029, abs=1e-3)


def test_concordance_is_correlation_times_closeness_to_identity() -> None:
    made, measured = pairs(30, 2)
    scale, shift = made.std() / measured.std(), (made.mean() - measured.mean()) ** 2 / made.std() / measured.std()
    closeness = 2 / (scale + 1 / scale + shift)
    assert concordance(made, measured).value == pytest.approx(stats.pearsonr(made, measured)[0] * closeness)


def test_its_interval_holds_in_95_of_100_studies() -> None:
    rng = np.random.default_rng(3)
    truth = 2 * 0.8 / (1 + 1 + 0.5**2)
    held = 0
    for _ in range(600):
        x, noise = rng.normal(size=(2, 40))
        found = concordance(0.8 * x + 0.6 * noise + 0.5, x)
        held += found.low <= truth <= found.high
    assert 0.92 < held / 600 < 0.98


def test_deming_is_the_first_singular_vector_and_does_not_care_which_side_is_which() -> None:
    made, measured = pairs(25, 4)
    points = np.stack([measured, made]) - np.array([[measured.mean()], [made.mean()]])
    across, up = np.linalg.svd(points)[0][:, 0]
    found = deming(made, measured)
    assert found.value == pytest.approx(up / across)
    assert deming(measured, made).value == pytest.approx(across / up)
    assert found.low < 0.8 < found.high
    assert deming(made, measured).value > stats.linregress(measured, made).slope, "which is too flat"


def test_ranks_are_scipys() -> None:
    made, measured = pairs(15, 5)
    assert spearman(made, measured).value == pytest.approx(stats.spearmanr(made, measured).statistic)
    assert kendall(made, measured) == pytest.approx(stats.kendalltau(made, measured).statistic)
    assert spearman(np.exp(made), measured).value == spearman(made, measured).value


def test_what_is_equal_agrees_and_what_does_not_vary_says_nothing() -> None:
    _, measured = pairs(12, 6)
    same = agree(measured, measured)
    assert (same.bias.value, same.lower.value, same.upper.value) == (0, 0, 0)
    assert [same.icc.value, same.ccc.value, same.slope.value, same.spread] == pytest.approx([1, 1, 1, 1])
    assert (same.spearman.value, same.kendall) == pytest.approx((1, 1))
    flat = agree(np.full(12, 0.5), measured)
    assert flat.spread == 0
    assert flat.icc.value == pytest.approx(0, abs=0.2)
    assert flat.ccc.value == flat.slope.value == 0
    assert math.isnan(flat.spearman.value)
    assert math.isnan(flat.kendall)


def test_shrinkage_towards_the_mean_is_seen() -> None:
    """Half the spread: slope and spread 1/2; the difference falls with size by (a - 1) / ((a + 1) / 2) = -2/3."""
    _, measured = pairs(30, 7)
    found = agree(0.5 * measured + 0.5 * measured.mean(), measured)
    assert [found.slope.value, found.spread, found.drift.value] == pytest.approx([0.5, 0.5, -2 / 3])
    assert found.bias.value == pytest.approx(0)


def test_too_few_and_unusable_subjects_are_refused() -> None:
    two = np.array([1.0, 2.0])
    with pytest.raises(InputError, match=f"{agreement.FEWEST} subjects or more; there are 2 and 2"):
        agree(two, two)
    with pytest.raises(InputError, match="infinite or undefined"):
        agree(np.array([1, 2, math.nan]), np.array([1.0, 2.0, 3.0]))
