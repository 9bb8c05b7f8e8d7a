"""Contests: the letters against their definition, means over common subjects only, Holm over all pairs."""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from transmodal.errors import InputError
from transmodal.evaluation.contest import contest, significance_letters
from transmodal.evaluation.measure import Measure
from transmodal.evaluation.table import Row

MAE = Measure("MAE", "mask", "3d masked", "HU")


def rows(values: dict[str, list[float]], measure: Measure = MAE) -> list[Row]:
    return [
        Row(f"s{n}", method, measure.region, measure.name, measure.convention, value, measure.unit, 10)
        for method, own in values.items()
        for n, value in enumerate(own)
    ]


@pytest.mark.parametrize("seed", range(20))
def test_methods_share_a_letter_exactly_if_they_do_not_differ(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ranked = [f"m{n}" for n in range(int(rng.integers(2, 9)))]
    pairs = list(combinations(ranked, 2))
    different = [pair for pair in pairs if rng.random() < 0.4]
    letters = significance_letters(ranked, different)
    for one, other in pairs:
        shared = set(letters[one]) & set(letters[other])
        assert bool(shared) == ((one, other) not in different)
    assert "a" in letters[ranked[0]]


def test_the_textbook_display() -> None:
    # A chain where only neighbours are alike.
    assert significance_letters(["p", "q", "r"], [("p", "r")]) == {"p": "a", "q": "ab", "r": "b"}
    assert significance_letters(["p", "q"], []) == {"p": "a", "q": "a"}
    assert set(significance_letters([f"m{n}" for n in range(30)], list(combinations([f"m{n}" for n in range(30)], 2))).values()) >= {"a", "z", "a1"}  # fmt: skip  # noqa: E501


def test_ranks_pairs_and_corrects() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(50, 10, 12)
    values = {
        "worse": list(base + 5 + rng.normal(0, 1, 12)),
        "best": list(base),
        "same": list(base + 0.1 * rng.choice([-1, 1], 12) * rng.random(12)),
    }
    found = contest(rows(values), MAE, margin=1.0)
    assert found.methods[-1] == "worse"
    assert set(found.methods[:2]) == {"best", "same"}
    raw = [duel.difference.p for duel in found.duels]
    assert [duel.p for duel in found.duels] == pytest.approx(
        [min(1, p * (3 - rank)) for p, rank in zip(raw, stats.rankdata(raw, "ordinal") - 1, strict=True)], abs=1e-3
    )
    duel = found.duel("worse", "best")
    assert duel.difference.mean == pytest.approx(np.mean(values["worse"]) - np.mean(base))
    assert duel.p < 0.01
    assert duel.equivalence is not None
    assert duel.equivalence.p > 0.9
    close = found.duel("best", "same").equivalence
    assert close is not None
    assert close.p < 0.001
    letters = {standing.method: standing.letters for standing in found.standings}
    assert letters == {"best": "a", "same": "a", "worse": "b"}


def test_mean_and_ranks_that_disagree_show_nobody_ahead() -> None:
    """Fifteen of sixteen are better with b, and one is far worse: the mean and most people say opposite things."""
    base = np.full(16, 10.0)
    other = base - np.linspace(0.1, 0.24, 16)
    other[-1] = 18.0
    (duel,) = contest(rows({"a": list(base), "b": list(other)}), MAE, margin=1.0).duels
    assert (duel.ahead, duel.behind) == ("a", "b")
    assert duel.differs, "the ranks differ"
    assert not duel.shown, "but not the way of the means"
    assert duel.equivalence is not None
    assert duel.equivalence.p > 0.05, "a difference of 8 for one person moves the mean beyond the margin"


def test_equivalence_is_corrected_over_the_pairs() -> None:
    rng = np.random.default_rng(3)
    values = {name: list(50 + rng.normal(0, 1, 9)) for name in "abc"}
    duels = contest(rows(values), MAE, margin=1.0).duels
    raw = [
        max(
            stats.ttest_1samp(moved, -1, alternative="greater").pvalue,
            stats.ttest_1samp(moved, 1, alternative="less").pvalue,
        )
        for moved in (np.array(values[d.behind]) - np.array(values[d.ahead]) for d in duels)
    ]
    order = np.argsort(raw)
    expected = np.empty(3)
    expected[order] = np.minimum(1, np.maximum.accumulate(np.array(raw)[order] * [3, 2, 1]))
    assert [d.equivalence and d.equivalence.p for d in duels] == pytest.approx(list(expected))


def test_only_common_subjects_count_and_the_others_are_named() -> None:
    values = {"one": [1.0, 2.0, 30.0], "two": [2.0, 3.0, float("nan")], "three": [3.0, 4.0]}
    found = contest(rows(values), MAE)
    assert found.subjects == ("s0", "s1")
    assert found.left_out == {"s2": ("two", "three")}
    assert [s.mean for s in found.standings] == [1.5, 2.5, 3.5]


def test_higher_is_better_where_it_is() -> None:
    psnr = Measure("PSNR", "mask", "3d masked", "dB")
    assert contest(rows({"low": [20.0, 21.0], "high": [30.0, 31.0]}, psnr), psnr).methods == ("high", "low")


def test_what_cannot_be_compared() -> None:
    with pytest.raises(InputError, match="no subject has a finite value"):
        contest([*rows({"one": [1.0]}), *[Row("x", "two", "mask", "MAE", "3d masked", 1.0, "HU", 1)]], MAE)
    with pytest.raises(InputError, match="two are needed"):
        contest(rows({"one": [1.0]}), MAE)
    with pytest.raises(InputError, match="two values"):
        contest(rows({"one": [1.0]}) * 2 + rows({"two": [1.0]}), MAE)
    with pytest.raises(InputError, match="neither side"):
        contest([], Measure("Sharpness", "mask", "", "1"))
