"""Effects of groups and trends: against scipy, and what a method that shrinks or loses them must show."""

import numpy as np
import pytest
from scipy import stats

from transmodal.errors import InputError
from transmodal.evaluation.effects import effects, hedges


def people(n: int = 20) -> tuple[dict[str, float], dict[str, str], np.ndarray]:
    rng = np.random.default_rng(0)
    old = np.arange(n) % 2
    values = rng.normal(size=n) - 1.5 * old
    names = [f"sub-{i}" for i in range(n)]
    words = {name: "old" if flag else "young" for name, flag in zip(names, old, strict=True)}
    return dict(zip(names, values.tolist(), strict=True)), words, old


def test_g_is_the_corrected_t() -> None:
    """Hedges' g = t √(1/n₁ + 1/n₂) (1 - 3 / (4 df - 1))."""
    values, _, old = people()
    numbers = np.array(list(values.values()))
    t = stats.ttest_ind(numbers[old == 1], numbers[old == 0]).statistic
    assert hedges(numbers[old == 1], numbers[old == 0]) == pytest.approx(t * np.sqrt(0.2) * (1 - 3 / 71))


def test_a_group_difference_survives_a_change_of_unit_and_dies_in_noise() -> None:
    values, words, _ = people()
    kept = effects({name: 100 + 3 * value for name, value in values.items()}, values, words)
    assert [(one.name, one.kind, one.n) for one in kept] == [("young - old", "g", 20)]
    assert kept[0].made == pytest.approx(kept[0].measured)
    assert kept[0].measured > 1
    assert (kept[0].low, kept[0].high) == pytest.approx((0, 0), abs=1e-9)
    noise = dict(zip(values, np.random.default_rng(1).normal(size=20).tolist(), strict=True))
    lost = effects(noise, values, words)[0]
    assert lost.change == lost.made - lost.measured
    assert lost.low < lost.change < lost.high < 0


def test_a_number_is_a_trend() -> None:
    values, _, _ = people()
    ages = {name: str(60 + 5 * value) for name, value in values.items()}
    found = effects({name: -value for name, value in values.items()}, values, ages)
    assert [(one.kind, round(one.measured, 9), round(one.made, 9)) for one in found] == [("r", 1, -1)]


def test_small_groups_say_nothing_and_none_is_an_error() -> None:
    values, words, _ = people()
    assert effects(values, values, dict.fromkeys(words, "all")) == []
    assert effects(values, values, {name: words[name] for name in list(words)[:4]}) == []
    with pytest.raises(InputError, match="check names and column"):
        effects(values, values, {"someone": "old"})


@pytest.mark.parametrize(("kind", "sizes"), [("g", (3, 5, 8, 15)), ("r", (8,))])
def test_intervals_hold_what_they_promise_for_few(kind: str, sizes: tuple[int, ...]) -> None:
    """Measured and made numbers share half of their variance and one effect: its change is 0."""
    rng = np.random.default_rng(7)
    held = []
    for n in sizes:
        names = [f"sub-{i}" for i in range(2 * n)]
        cause = np.repeat([0.0, 1.0], n) if kind == "g" else np.linspace(-1, 1, 2 * n)
        words = [f"{one:g}" for one in cause] if kind == "r" else ["a"] * n + ["b"] * n
        column = dict(zip(names, words, strict=True))
        for _ in range(60):
            own, noise = rng.normal(size=(2, 2 * n))
            measured, made = own + cause, np.sqrt(0.5) * (own + noise) + cause
            sides = [dict(zip(names, side.tolist(), strict=True)) for side in (made, measured)]
            (one,) = effects(*sides, column)
            held.append(one.low <= 0 <= one.high)
    assert 0.935 <= np.mean(held) <= 0.995
