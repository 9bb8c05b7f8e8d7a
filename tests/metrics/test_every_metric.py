"""What must hold for every metric; a new one is tested by being listed in METRICS."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from transmodal.errors import InputError, RecipeError
from transmodal.metrics import METRICS
from transmodal.metrics.region import box, check, slabs

# ArtefactEnergy looks at all that the others must not see; test_more.py has its tests. A metric against the input
# is another metric's function by another name. What is of CT in HU has its tests in test_tissues.py.
INSIDE = {
    name: metric
    for name, metric in METRICS.items()
    if name != "ArtefactEnergy" and not metric.against_input and not metric.hounsfield
}
EVERY = pytest.mark.parametrize("metric", INSIDE.values(), ids=INSIDE)
RANGE = 100.0


def volume(seed=0, size=(26, 24, 25), channels=1, metric=None):
    channels = 3 if metric is not None and metric.colour else channels
    generator = torch.Generator().manual_seed(seed)
    return 20 + 60 * torch.rand((channels, *size), generator=generator, dtype=torch.float64)


def ball(size=(26, 24, 25), radius=8.0):
    lines = [torch.arange(n) - (n - 1) / 2 for n in size]
    x, y, z = torch.meshgrid(*lines, indexing="ij")
    return x**2 + y**2 + z**2 <= radius**2


def noisy(reference, level, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return reference + level * torch.randn(reference.shape, generator=generator, dtype=torch.float64)


@EVERY
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("masked", [False, True])
def test_identical_gives_exactly_the_best_value(metric, channels, masked):
    reference = volume(channels=channels, metric=metric)
    assert metric(reference.clone(), reference, ball() if masked else None, data_range=RANGE) == metric.best


@EVERY
@pytest.mark.parametrize("masked", [False, True])
def test_more_noise_is_worse(metric, masked):
    if metric.name == "Bias":
        pytest.skip("noise around zero is no bias")
    reference, mask = volume(metric=metric), ball() if masked else None
    values = [metric(noisy(reference, level), reference, mask, data_range=RANGE) for level in (0, 1, 3, 9, 27)]
    if metric.higher_is_better is None:
        assert [abs(v - metric.best) for v in values] == sorted(abs(v - metric.best) for v in values)
    else:
        assert values == sorted(values, reverse=metric.higher_is_better)
    assert len(set(values)) == len(values)
    assert all(math.isfinite(value) for value in values[1:])


@EVERY
def test_no_mask_equals_full_mask(metric):
    reference = volume(channels=3, metric=metric)
    prediction = noisy(reference, 5.0)
    whole = metric(prediction, reference, None, data_range=RANGE)
    full = metric(prediction, reference, torch.ones(reference.shape[1:], dtype=torch.bool), data_range=RANGE)
    assert full == pytest.approx(whole, rel=1e-12)


@EVERY
def test_voxels_outside_the_mask(metric):
    reference, mask = volume(metric=metric), ball(radius=5.0)
    prediction = noisy(reference, 5.0)
    before = metric(prediction, reference, mask, data_range=RANGE)
    spoilt = torch.where(mask, prediction, 1e3)
    after = metric(spoilt, reference, mask, data_range=RANGE)
    if metric.name == "ShiftPSNR":
        assert after == before, "no shift that brings rubbish in is the best one"
    elif metric.sees_outside:
        assert after < before
    else:
        assert after == before


@EVERY
def test_voxels_beyond_the_reach_of_any_window_never_matter(metric):
    # One scale of MS-SSIM (21 voxels along Y) reaches 5 voxels, as SSIM does.
    size = (40, 21, 40)
    reference, mask = volume(size=size, metric=metric), torch.zeros(size, dtype=torch.bool)
    mask[12:20, 6:15, 12:20] = True
    prediction = noisy(reference, 5.0)
    before = metric(prediction, reference, mask, data_range=RANGE)
    spoilt = prediction.clone()
    spoilt[:, 26:], spoilt[..., 26:], spoilt[:, :6] = 1e3, -1e3, 7.0
    assert metric(spoilt, reference, mask, data_range=RANGE) == pytest.approx(before, rel=1e-12)
    spoilt[0, 15, 10, 15] += 1e3
    assert metric(spoilt, reference, mask, data_range=RANGE) != pytest.approx(before, rel=1e-3)


@EVERY
def test_zero_padding_does_not_change_a_masked_value(metric):
    # 26 → 42 voxels keeps two scales; MS-SSIM is padded by a multiple of two, so that its voxels pair as before.
    reference, mask = volume(metric=metric), ball(radius=5.0)
    prediction = noisy(reference, 5.0)
    before = metric(prediction, reference, mask, data_range=RANGE)
    pad = torch.nn.functional.pad
    after = metric(pad(prediction, [8] * 6), pad(reference, [8] * 6), pad(mask, [8] * 6), data_range=RANGE)
    assert after == pytest.approx(before, rel=1e-9 if metric.name != "MS-SSIM" else 5e-3)


@EVERY
def test_float32_input_is_computed_in_float64(metric):
    reference = volume(metric=metric).float()
    prediction = noisy(reference, 5.0).float()
    exact = metric(prediction.double(), reference.double(), ball(), data_range=RANGE)
    assert metric(prediction, reference, ball(), data_range=RANGE) == pytest.approx(exact, rel=1e-12)


@EVERY
def test_units_scale_as_the_unit_rule_says(metric):
    reference = volume(metric=metric)
    prediction = noisy(reference, 5.0)
    before = metric(prediction, reference, ball(), data_range=RANGE)
    after = metric(prediction * 40, reference * 40, ball(), data_range=RANGE * 40)
    assert after == pytest.approx(before * 40 if metric.unit == "data" else before, rel=1e-9)


@EVERY
def test_flips_and_turns_do_not_matter(metric):
    if metric.slicewise:
        pytest.skip("looks along one axis")
    reference, mask = volume(size=(24, 24, 24), metric=metric), ball((24, 24, 24))
    prediction = noisy(reference, 5.0)
    mask[:9] = False
    before = metric(prediction, reference, mask, data_range=RANGE)
    turned = (v.flip(1).transpose(2, 3) for v in (prediction, reference))
    after = metric(*turned, mask.flip(0).transpose(1, 2), data_range=RANGE)
    assert after == pytest.approx(before, rel=1e-12)


@EVERY
def test_nan_in_the_mask_gives_nan(metric):
    reference = volume(metric=metric)
    prediction = noisy(reference, 5.0)
    prediction[0, 13, 12, 12] = math.nan
    assert math.isnan(metric(prediction, reference, ball(), data_range=RANGE))


@EVERY
def test_range_is_needed_where_it_says_so(metric):
    reference = volume(metric=metric)
    prediction = noisy(reference, 5.0)
    if not metric.needs_range:
        assert math.isfinite(metric(prediction, reference))
        return
    with pytest.raises(RecipeError, match="data_range"):
        metric(prediction, reference)
    for wrong in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(RecipeError, match="data_range"):
            metric(prediction, reference, data_range=wrong)


@EVERY
def test_empty_mask_is_refused(metric):
    reference = volume(metric=metric)
    with pytest.raises(InputError, match="no voxel"):
        metric(reference, reference, torch.zeros(reference.shape[1:], dtype=torch.bool), data_range=RANGE)


@EVERY
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 9999), size=st.tuples(*[st.integers(12, 17)] * 3))
def test_values_stay_in_their_range(metric, seed, size):
    reference = volume(seed, size, metric=metric)
    value = metric(noisy(reference, 40.0, seed + 1), reference, None, data_range=RANGE)
    if metric.higher_is_better is None:
        assert value != metric.best
    else:
        assert value < metric.best if metric.higher_is_better else value > metric.best
        assert metric.unit == "dB" or value >= -1


def test_a_shift_of_all_values_is_the_bias():
    reference = volume(channels=3)
    assert METRICS["Bias"](reference + 3, reference, ball()) == pytest.approx(3, rel=1e-12)
    assert METRICS["Bias"](reference - 3, reference) == pytest.approx(-3, rel=1e-12)


def test_shapes_must_agree():
    one = torch.zeros(1, 4, 4, 4)
    check(one, one, torch.ones(4, 4, 4, dtype=torch.bool))
    with pytest.raises(InputError, match=r"\(3, 4, 4, 4\).*\(1, 4, 4, 4\)"):
        check(torch.zeros(3, 4, 4, 4), one, None)  # torch would broadcast it without a word
    with pytest.raises(InputError, match="mask has shape"):
        check(one, one, torch.ones(4, 4, 5, dtype=torch.bool))


def test_box_and_slabs():
    mask = torch.zeros(20, 10, 30, dtype=torch.bool)
    mask[8, 2, 29] = mask[11, 4, 20] = True
    assert box(mask, 3) == (slice(5, 15), slice(0, 8), slice(17, 30))
    for length, layer in ((1, 10), (100, 1), (100, 10**6), (65, 10**5)):
        parts = list(slabs(length, layer))
        assert [i for low, high in parts for i in range(low, high)] == list(range(length))
