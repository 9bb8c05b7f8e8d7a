import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transmodal.data.intensity import IntensityFit, IntensitySpec, fit, pool, spec_for
from transmodal.errors import InputError, RecipeError

RNG = np.random.default_rng(0)
VALUES = RNG.gamma(4, 100, (1, 12, 12, 12)).astype(np.float32)
MASK = np.zeros((12, 12, 12), dtype=bool)
MASK[2:10, 2:10, 2:10] = True


def test_defaults_by_modality():
    assert spec_for("T1w") == IntensitySpec("percentile", 0.5, 99.5)
    assert spec_for("CT") == IntensitySpec("window", -1024.0, 3071.0)
    assert spec_for("FA") == IntensitySpec("window", 0.0, 1.0)
    assert spec_for("cryo") == IntensitySpec("window", 0.0, 255.0)


def test_overrides():
    assert spec_for("T1w", "zscore").kind == "zscore"
    assert spec_for("CT", {"low": -200}) == IntensitySpec("window", -200.0, 3071.0)
    assert spec_for("CT", "percentile") == IntensitySpec("percentile", 0.5, 99.5)
    assert spec_for("T1w", {"high": 99}) == IntensitySpec("percentile", 0.5, 99.0)
    assert spec_for("CBCT", {"kind": "window", "low": -1000, "high": 2000}) == IntensitySpec(
        "window", -1000.0, 2000.0
    )


@pytest.mark.parametrize(
    ("name", "override", "words"),
    [
        ("T1w", "windows", r"data\.prepare\.intensity\.T1w.*'windows'.*did you mean 'window'"),
        ("T1w", "window", r"T1w has no physical window"),
        ("T1w", {"kind": "window", "low": 0}, "T1w has no physical window"),
        ("T2w", {"hihg": 3}, r"data\.prepare\.intensity\.T2w\.hihg.*did you mean 'high'"),
        ("T2w", {"low": "3"}, r"T2w\.low = '3': give a number"),
        ("CT", {"low": 4000}, r"intensity\.CT: low = 4000, high = 3071: low must be below high"),
        ("T2w", {"low": -1}, "percentiles lie between 0 and 100"),
    ],
)
def test_bad_overrides_name_the_key(name, override, words):
    with pytest.raises(RecipeError, match=words):
        spec_for(name, override)


def test_percentiles_are_those_of_the_mask():
    made = fit(IntensitySpec("percentile", 5.0, 95.0), VALUES[:, MASK].ravel(), "v")
    low, high = np.percentile(VALUES[0][MASK], (5, 95))
    np.testing.assert_allclose(made.range, (low, high), rtol=1e-6)
    np.testing.assert_allclose(made.apply(np.array([low, (low + high) / 2, high])), [-1, 0, 1], atol=1e-6)
    assert made.apply(VALUES).min() == -1
    assert made.apply(VALUES).max() == 1
    assert made.bounded
    assert made.background == -1


def test_window_does_not_depend_on_the_image():
    made = fit(spec_for("CT"), VALUES[:, MASK].ravel(), "v")
    assert made.range == (-1024, 3071)
    np.testing.assert_allclose(made.apply(np.array([-1024, -2000, 3071, 9999])), [-1, -1, 1, 1], atol=1e-6)


def test_zscore_is_not_clipped():
    made = fit(IntensitySpec("zscore"), VALUES[:, MASK].ravel(), "v")
    inside = made.apply(VALUES)[0][MASK]
    assert inside.mean() == pytest.approx(0, abs=1e-5)
    assert inside.std() == pytest.approx(1, abs=1e-5)
    assert inside.max() > 2
    assert made.range is None
    assert not made.bounded
    assert made.background == pytest.approx(float(made.apply(np.zeros(1))[0]))


@given(
    st.sampled_from(["window", "percentile", "zscore"]),
    st.floats(-2000, 2000),
    st.floats(1, 5000),
    st.floats(0, 1),
)
def test_round_trip_inside_the_limits(kind, low, width, where):
    limits = None if kind == "zscore" else 1.0
    made = IntensityFit(kind, low + width / 2, width / 2, None if limits is None else -1.0, limits)
    value = np.array([low + where * width])
    back = made.invert(made.apply(value))
    assert abs(back - value)[0] <= 1e-5 * max(width, abs(low))


def test_colour_shares_one_window():
    colour = RNG.integers(0, 256, (3, 4, 4, 4)).astype(np.uint8)
    made = fit(spec_for("cryo"), colour.ravel(), "c")
    np.testing.assert_allclose(made.apply(colour), colour / 127.5 - 1, atol=1e-6)
    np.testing.assert_array_equal(np.round(made.invert(made.apply(colour))), colour)


@pytest.mark.parametrize("kind", ["percentile", "zscore", "window"])
def test_constant_and_empty_are_refused(kind):
    spec = IntensitySpec(kind, 0.5, 99.5)
    with pytest.raises(InputError, match=r"sub-01: every voxel in the mask is 3"):
        fit(spec, np.full(1728, 3, np.float32), "sub-01")
    with pytest.raises(InputError, match=r"sub-01: no voxel lies in the mask"):
        fit(spec, VALUES[:0].ravel(), "sub-01")


def test_percentiles_that_fall_together_are_refused():
    values = np.zeros((1, 12, 12, 12), np.float32)
    values[0, 5, 5, 5] = 1
    with pytest.raises(InputError, match="percentiles in the mask are both 0"):
        fit(IntensitySpec("percentile", 5.0, 95.0), values[:, MASK].ravel(), "v")


def test_pool_is_the_median():
    fits = [IntensityFit("percentile", float(s), float(2 * s), -1.0, 1.0) for s in (1, 5, 100)]
    assert pool(fits) == IntensityFit("percentile", 5.0, 10.0, -1.0, 1.0)
    with pytest.raises(ValueError, match="of one kind"):
        pool([fits[0], IntensityFit("zscore", 0.0, 1.0)])
    with pytest.raises(ValueError, match="none"):
        pool([])


def test_stored_and_read_back_exactly():
    made = fit(IntensitySpec(), VALUES[:, MASK].ravel(), "v")
    assert IntensityFit.from_dict(json.loads(json.dumps(made.to_dict()))) == made


@pytest.mark.parametrize("stored", [{}, {"format": "other/1"}, {"kind": "zscore", "shift": 0, "scale": 1}])
def test_something_else_is_refused(stored):
    with pytest.raises(InputError, match="an intensity fit is expected"):
        IntensityFit.from_dict(stored)


def test_one_hot_voxel_does_not_squeeze_the_rest() -> None:
    """Percentiles do not see it; and FA comes back from its window to a millionth."""
    hot = VALUES.copy()
    hot[0, 5, 5, 5] = 100 * VALUES.max()
    spec = spec_for("T1w")
    plain, robust = (fit(spec, values[:, MASK].ravel(), "x") for values in (VALUES, hot))
    rest = np.ones_like(MASK)
    rest[5, 5, 5] = False
    near, far = plain.apply(VALUES)[0][rest], robust.apply(hot)[0][rest]
    assert np.abs(near - far).max() < 0.05
    assert far.std() > 0.9 * near.std()
    fa = RNG.random((1, 12, 12, 12)).astype(np.float32)
    window = fit(spec_for("FA"), fa[:, MASK].ravel(), "x")
    np.testing.assert_allclose(window.invert(window.apply(fa)), fa, atol=1e-6)


def test_hounsfield_units_come_back_to_the_unit():
    values = np.arange(-1024, 3072, dtype=np.float32).reshape(1, 16, 16, 16)
    made = fit(spec_for("CT"), values.ravel(), "CT")
    normalised = made.apply(values)
    assert normalised.dtype == np.float32
    assert (normalised.min(), normalised.max()) == (-1, 1)
    assert np.abs(made.invert(normalised) - values).max() < 1e-3
