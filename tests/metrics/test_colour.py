"""Metrics of colourised images: known values on images by formula, and other implementations."""

import numpy as np
import pytest
import torch
from pytorch_msssim import ms_ssim as other_ms_ssim
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.metrics import structural_similarity

from transmodal.errors import InputError
from transmodal.losses.structural import WINDOWS, ms_ssim, ssim, window_ssims
from transmodal.metrics import METRICS
from transmodal.metrics.ciede2000 import delta_e, to_lab
from transmodal.metrics.colourfulness import colourfulness
from transmodal.nn.steerable import _angular, _radial, steerable_pyramid


def slab(image):
    """An image as a volume of one slice."""
    return torch.from_numpy(np.ascontiguousarray(image))[..., None]


@pytest.fixture(scope="module")
def pair(golden):
    return slab(golden["A"]), slab(golden["B"])


@pytest.fixture(scope="module")
def colours(golden):
    return slab(golden["RGB1"]), slab(golden["RGB2"])


def test_the_golden_images_are_those_of_the_tables(golden):
    a, b = golden["A"][0], golden["B"][0]
    assert (a[0, 0], a[10, 20]) == pytest.approx((0.7, 0.5590712377), abs=1e-10)
    assert (b[10, 20], b[200, 137]) == pytest.approx((0.6007750232, 0.3157333684), abs=1e-10)
    assert (a.mean(), b.mean()) == pytest.approx((0.4999375956, 0.5007156519), abs=1e-10)


# The family of SSIM

SAME = (0.95501061, 0.95430002, 0.95060854, 0.93709350, 0.90037386)
VALID = (0.95364634, 0.95284630, 0.94910016, 0.93555898, 0.89901294)
COLOUR = (0.94961874, 0.94905870, 0.94617504, 0.93600760, 0.91260365)


def test_ssim_in_every_window(pair, colours):
    a, b = (v[None, ..., 0] for v in pair)
    assert window_ssims(a, b, data_range=1.0).tolist() == pytest.approx(SAME, abs=1e-7)
    assert window_ssims(a, b, data_range=1.0, padding="valid").tolist() == pytest.approx(VALID, abs=1e-7)
    one, two = (v[None, ..., 0] for v in colours)
    assert window_ssims(one, two, data_range=1.0).tolist() == pytest.approx(COLOUR, abs=1e-7)
    assert (1 - window_ssims(a, b, data_range=1.0)).sum().item() == pytest.approx(0.30261347, abs=1e-7)
    assert (1 - window_ssims(one, two, data_range=1.0)).sum().item() == pytest.approx(0.30653627, abs=1e-7)
    single = (1 - window_ssims(a.float(), b.float(), data_range=1.0)).sum().item()
    assert single == pytest.approx(0.302613, abs=1e-5)


def test_the_standard_window_is_that_of_scikit_image(golden):
    a, b = golden["A"][0], golden["B"][0]
    told = structural_similarity(
        a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0
    )
    one, two = (torch.from_numpy(v)[None, None] for v in (a, b))
    assert told == pytest.approx(0.95364634, abs=1e-8)
    assert ssim(one, two, data_range=1.0, padding="valid").item() == pytest.approx(told, abs=1e-7)


def test_ssim_of_colours_is_the_mean_of_that_of_each(golden, colours):
    """Over the whole map, borders included, as scikit-image computes it."""
    how = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    _, maps = structural_similarity(golden["RGB1"], golden["RGB2"], channel_axis=0, full=True, **how)
    told = maps.mean()
    assert METRICS["SSIM"](*colours, data_range=1.0) == pytest.approx(told, abs=1e-6)
    assert METRICS["SSIM"](*(255 * v for v in colours), data_range=255.0) == pytest.approx(told, abs=1e-6)


def test_the_mean_of_five_windows(pair, colours):
    metric = METRICS["SSIM-windows"]
    assert metric(*pair, data_range=1.0) == pytest.approx(0.93947731, abs=1e-7)
    assert metric(*colours, data_range=1.0) == pytest.approx(np.mean(COLOUR), abs=1e-7)
    assert len(WINDOWS) == 5


def test_ms_ssim_and_what_becomes_of_it_in_small_images(pair):
    a, b = pair
    metric = METRICS["MS-SSIM"]
    assert metric(a, b, data_range=1.0) == pytest.approx(0.98876879, abs=1e-7)
    other = other_ms_ssim(b[None, ..., 0].float(), a[None, ..., 0].float(), data_range=1.0).item()
    assert metric(a, b, data_range=1.0) == pytest.approx(other, abs=1e-5)
    assert ms_ssim(a[None, ..., 0], b[None, ..., 0], data_range=1.0).item() == pytest.approx(0.98876879, abs=1e-7)
    for size, scales in ((256, 5), (176, 5), (161, 4), (128, 4), (64, 3)):
        cut = a[:, :size, :size], b[:, :size, :size]
        assert 0 < metric(*cut, data_range=1.0) < 1
        assert metric.detail(cut[1], None) == f"scales={scales}"


# Textures


@pytest.mark.parametrize(
    ("size", "first", "second"), [(256, 0.804560, 0.808321), (128, 0.950837, 0.881688), (64, 0.977032, 0.932634)]
)
def test_stsim(pair, size, first, second):
    cut = [v[:, :size, :size] for v in pair]
    assert METRICS["STSIM-1"](*cut, data_range=1.0) == pytest.approx(first, abs=1e-5)
    assert METRICS["STSIM-2"](*cut, data_range=1.0) == pytest.approx(second, abs=1e-5)


def test_stsim_minds_the_range_and_not_a_shift(pair):
    a, b = pair
    # The published constant belongs to 0 … 255: taken for that, images of 0 … 1 have hardly any contrast.
    assert METRICS["STSIM-1"](a, b, data_range=255.0) == pytest.approx(0.965230, abs=1e-5)
    rolled = a.roll((3, 5), (1, 2))
    assert METRICS["STSIM-1"](rolled, a, data_range=1.0) == pytest.approx(0.966044, abs=1e-5)
    assert METRICS["STSIM-2"](rolled, a, data_range=1.0) == pytest.approx(0.913666, abs=1e-5)
    one, two = rolled[None, ..., 0], a[None, ..., 0]
    assert ssim(one, two, data_range=1.0, padding="valid").item() == pytest.approx(-0.256520, abs=1e-5)


def test_the_pyramid_loses_nothing():
    """The squares of all masks, taken as real filters, sum to one everywhere; so do the energies of the bands."""
    size = (64, 48)
    total = _radial(size, 0, 0)[0] ** 2
    low = _radial(size, 0, 0)[1]
    for scale in (1, 2, 3):
        above, below = _radial(size, 0, -scale)
        for number in range(4):
            # Half of an analytic mask on one half plane is the real one on both.
            half = _angular(size, 0, number, 4) / 2
            opposite = _angular(size, 0, number + 4, 4) / 2
            total = total + (low * above) ** 2 * (half**2 + opposite**2)
        low = low * below
    assert np.abs(total + low**2 - 1).max() < 1e-12
    pyramid = steerable_pyramid(torch.rand(2, 64, 48, dtype=torch.float64))
    assert [band.shape for scale in pyramid.bands for band in scale[:1]] == [(2, 64, 48), (2, 32, 24), (2, 16, 12)]
    assert pyramid.low.shape == (2, 8, 6)
    with pytest.raises(ValueError, match="multiples of 8"):
        steerable_pyramid(torch.rand(1, 60, 64))


@pytest.mark.parametrize("size", [(72, 72), (88, 104), (64, 200)])
def test_bands_whose_last_half_is_odd(size):
    """A constant stays one; any image's low band is that of the sum over frequencies, one by one."""
    low = steerable_pyramid(torch.full((1, *size), 0.5, dtype=torch.float64)).low
    assert low.shape == (1, size[0] // 8, size[1] // 8)
    assert (low - low.mean()).abs().max() < 1e-12
    image = np.random.default_rng(0).random(size)
    spectrum = np.fft.fft2(image)
    rows, columns = (np.fft.fftfreq(n // 8, 8 / n).round().astype(int) for n in size)
    octaves = np.log2(np.maximum(np.hypot(rows[:, None] / (size[0] / 2), columns / (size[1] / 2)), 2 / max(size)))
    kept = spectrum[np.ix_(rows, columns)]
    for edge in (0, -1, -2, -3):
        kept = kept * np.sqrt(1 - np.cos(np.pi / 2 * np.clip(octaves - edge, -1, 0)) ** 2)
    told = np.fft.ifft2(kept).real
    assert np.abs(steerable_pyramid(torch.from_numpy(image)[None]).low[0].numpy() - told).max() < 1e-10


# Colour


def test_colourfulness(colours):
    one, two = colours
    assert 255 * colourfulness(one) == pytest.approx(97.525139, abs=1e-5)
    assert 255 * colourfulness(two) == pytest.approx(90.113854, abs=1e-5)
    assert METRICS["delta-CF"](one, two, data_range=1.0) == pytest.approx(0.02906386, abs=1e-7)
    assert METRICS["delta-CF"](255 * one, 255 * two, data_range=255.0) == pytest.approx(0.02906386, abs=1e-7)
    red = torch.zeros(3, 4, 4, 1)
    red[0] = 1
    assert 255 * colourfulness(red) == pytest.approx(85.529600, abs=1e-5)
    assert colourfulness(torch.rand(1, 4, 4, 1).expand(3, -1, -1, -1)) == pytest.approx(0, abs=1e-7)
    assert 255 * colourfulness(torch.eye(3)[:, :, None, None]) == pytest.approx(275.431480, abs=1e-4)
    with pytest.raises(InputError, match="1 channel"):
        METRICS["delta-CF"](one[:1], two[:1], data_range=1.0)


def test_the_difference_of_colourfulness_is_taken_slice_by_slice(colours):
    one, two = colours
    both = torch.cat([one, two], dim=3)
    crossed = torch.cat([two, one], dim=3)
    assert METRICS["delta-CF"](both, crossed, data_range=1.0) == pytest.approx(0.02906386, abs=1e-7)
    mask = torch.zeros(both.shape[1:], dtype=torch.bool)
    mask[:, :, 1] = True
    assert METRICS["CF-bias"](both, crossed, data_range=1.0) == pytest.approx(0, abs=1e-12)
    assert METRICS["CF-bias"](one, two, data_range=1.0) == pytest.approx(0.02906386, abs=1e-7)
    assert METRICS["CF-bias"](two, one, data_range=1.0) == pytest.approx(-0.02906386, abs=1e-7)
    spoilt = both.clone()
    spoilt[..., 0] = 5
    assert METRICS["delta-CF"](spoilt, crossed, mask, data_range=1.0) == pytest.approx(0.02906386, abs=1e-7)


def test_ciede2000_is_that_of_scikit_image():
    rng = np.random.default_rng(0)
    one, two = rng.random((3, 20, 20, 20)), rng.random((3, 20, 20, 20))
    one[:, 0], two[:, 1] = one[:1, 0], two[:1, 1]  # greys have no hue
    labs = [rgb2lab(v, channel_axis=0) for v in (one, two)]
    told = deltaE_ciede2000(*labs, channel_axis=0)
    mine = [to_lab(torch.from_numpy(v).flatten(1)) for v in (one, two)]
    assert np.abs(mine[0].numpy() - labs[0].reshape(3, -1)).max() < 1e-3
    exact = delta_e(*[torch.from_numpy(lab).flatten(1) for lab in labs])
    assert np.abs(exact.numpy() - told.ravel()).max() < 1e-9
    value = METRICS["CIEDE2000"](torch.from_numpy(255 * one), torch.from_numpy(255 * two), data_range=255.0)
    assert value == pytest.approx(told.mean(), abs=1e-4)


def test_ciede2000_of_published_pairs():
    """Sharma et al. 2005, table 1: pairs that tell apart wrong turns of the hue."""
    pairs = [
        ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
        ((50.0, 0.0, 0.0), (50.0, -1.0, 2.0), 2.3669),
        ((50.0, 2.49, -0.001), (50.0, -2.49, 0.0009), 7.1792),
        ((50.0, 2.49, -0.001), (50.0, -2.49, 0.0011), 7.2195),
        ((50.0, 2.5, 0.0), (50.0, 0.0, -2.5), 4.3065),
        ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
        ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
    ]
    for one, two, told in pairs:
        columns = [torch.tensor(colour, dtype=torch.float64)[:, None] for colour in (one, two)]
        assert delta_e(*columns).item() == pytest.approx(told, abs=1e-4)
        assert delta_e(*columns[::-1]).item() == pytest.approx(told, abs=1e-4)
