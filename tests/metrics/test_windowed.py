"""SSIM and MS-SSIM of volumes: peers where they are defined, direct sums where there is a mask."""

import math

import numpy as np
import pytest
import torch
from monai.metrics.regression import compute_ms_ssim
from pytorch_msssim import ms_ssim as peer_ms_ssim
from skimage.metrics import structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure

from transmodal.losses.structural import halve, scale_weights, ssim_parts
from transmodal.metrics import METRICS, region
from transmodal.metrics.ms_ssim import ms_ssim, scale_count
from transmodal.metrics.ssim import ssim


def pair(size, data_range=1.0, channels=1, seed=0, noise=0.2):
    generator = torch.Generator().manual_seed(seed)
    reference = torch.rand((channels, *size), generator=generator, dtype=torch.float64) * data_range
    shift = torch.randn(reference.shape, generator=generator, dtype=torch.float64)
    return reference + noise * data_range * shift, reference


def blob(size, seed=3):
    """A mask with a ragged border that touches a face of the volume."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(size, generator=generator) > 0.4
    mask[:, : size[1] // 3] = False
    return mask


def skimage_map(prediction, reference, data_range):
    return structural_similarity(
        prediction.numpy(), reference.numpy(), data_range=data_range, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False, full=True,
    )  # fmt: skip


@pytest.mark.parametrize("data_range", [1.0, 255.0, 4095.0])
@pytest.mark.parametrize("size", [(21, 17, 1), (40, 33, 1), (14, 12, 19), (25, 30, 22)])
def test_ssim_equals_scikit_image_whole_and_masked(size, data_range):
    prediction, reference = pair(size, data_range)
    theirs = skimage_map(prediction[0].squeeze(), reference[0].squeeze(), data_range)[1].reshape(size)
    assert ssim(prediction, reference, data_range=data_range) == pytest.approx(theirs.mean(), abs=1e-9)
    mask = blob(size)
    inside = theirs[mask.numpy()].mean()
    assert ssim(prediction, reference, mask, data_range=data_range) == pytest.approx(inside, abs=1e-9)


def test_the_number_scikit_image_prints_is_that_of_a_mask_five_voxels_smaller():
    prediction, reference = pair((24, 22, 20))
    mask = torch.zeros(24, 22, 20, dtype=torch.bool)
    mask[5:-5, 5:-5, 5:-5] = True
    printed = skimage_map(prediction[0], reference[0], 1.0)[0]
    assert ssim(prediction, reference, mask, data_range=1.0) == pytest.approx(printed, abs=1e-9)
    assert ssim(prediction, reference, data_range=1.0) != pytest.approx(printed, abs=1e-4)
    theirs = structural_similarity_index_measure(
        prediction[None], reference[None], data_range=1.0, return_full_image=True
    )
    assert theirs[1][0, 0][mask].mean().item() == pytest.approx(printed, abs=1e-6)


def test_ssim_of_colour_is_the_mean_of_its_channels():
    prediction, reference = pair((15, 14, 13), 255.0, channels=3)
    mask = blob((15, 14, 13))
    each = [ssim(prediction[c : c + 1], reference[c : c + 1], mask, data_range=255.0) for c in range(3)]
    assert ssim(prediction, reference, mask, data_range=255.0) == pytest.approx(np.mean(each), abs=1e-12)


def test_a_thin_volume_has_an_ssim_and_no_ms_ssim():
    prediction, reference = pair((30, 30, 6))
    assert 0 < ssim(prediction, reference, data_range=1.0) < 1
    assert math.isnan(ms_ssim(prediction, reference, data_range=1.0))
    assert scale_count((30, 30, 6)) == 0


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", ["SSIM", "MS-SSIM"])
def test_slabs_do_not_change_the_value(name, masked, monkeypatch):
    prediction, reference = pair((70, 25, 24), channels=2)
    mask = blob((70, 25, 24)) if masked else None
    before = METRICS[name](prediction, reference, mask, data_range=1.0)
    monkeypatch.setattr(region, "_SLAB_VOXELS", 1)
    assert len(list(region.slabs(70, 25 * 24))) == 5
    assert METRICS[name](prediction, reference, mask, data_range=1.0) == pytest.approx(before, rel=1e-12)


@pytest.mark.parametrize(
    ("size", "scales"), [((180, 176, 1), 5), ((45, 47, 1), 3), ((44, 47, 50), 3), ((23, 30, 22), 2)]
)
def test_ms_ssim_equals_monai(size, scales):
    prediction, reference = pair(size, 255.0)
    assert scale_count(size) == scales
    flat = [v.squeeze(-1)[None] for v in (prediction, reference)]
    theirs = compute_ms_ssim(
        *flat, spatial_dims=flat[0].ndim - 2, data_range=255.0, weights=scale_weights(scales)
    ).item()
    assert ms_ssim(prediction, reference, data_range=255.0) == pytest.approx(theirs, abs=5e-5)  # MONAI: float32


def test_ms_ssim_equals_pytorch_msssim():
    prediction, reference = pair((176, 192, 1), channels=3)
    taps = torch.exp(-((torch.arange(11, dtype=torch.float64) - 5) ** 2) / 4.5)
    window = (taps / taps.sum()).view(1, 1, 1, 11).repeat(3, 1, 1, 1)
    flat = [v.squeeze(-1)[None] for v in (prediction, reference)]
    theirs = peer_ms_ssim(*flat, data_range=1.0, win=window).item()
    assert ms_ssim(prediction, reference, data_range=1.0) == pytest.approx(theirs, abs=1e-10)


def test_masked_ms_ssim_is_a_weighted_mean_of_each_scale():
    prediction, reference = pair((46, 24, 25), channels=2)
    mask = blob((46, 24, 25))
    x, y, share, means = prediction[None], reference[None], mask[None, None].double(), []
    for scale in range(2):
        luminance, structure = ssim_parts(x, y, data_range=1.0, padding="valid")
        values = (luminance * structure if scale == 1 else structure)[0].numpy()
        weights = share[0, 0, 5:-5, 5:-5, 5:-5].numpy()
        means.append([np.average(channel, weights=weights) for channel in values])
        x, y, share = halve(x), halve(y), halve(share)
    expected = np.prod(np.array(means) ** np.array(scale_weights(2))[:, None], axis=0).mean()
    assert ms_ssim(prediction, reference, mask, data_range=1.0) == pytest.approx(expected, abs=1e-12)


def test_scales_end_where_no_window_has_its_middle_in_the_mask():
    mask = torch.zeros(44, 44, 44, dtype=torch.bool)
    mask[6:9, 6:9, 6:9] = True  # at half size the windows' middles begin at voxel 10
    assert scale_count(mask.shape) == 3
    assert scale_count(mask.shape, mask) == 1
    assert METRICS["MS-SSIM"].detail(torch.zeros(1, 44, 44, 44), mask) == "scales=1"
    mask[6:12] = True
    assert scale_count(mask.shape, mask) == 2
    mask[:] = False
    mask[:5] = True
    assert scale_count(mask.shape, mask) == 0
    assert math.isnan(ms_ssim(*pair((44, 44, 44)), mask, data_range=1.0))


def test_inverted_contrast_scores_zero_on_several_scales_and_below_zero_in_ssim():
    _, reference = pair((24, 24, 24))
    assert ms_ssim(1 - reference, reference, data_range=1.0) == 0.0
    assert ssim(1 - reference, reference, data_range=1.0) < -0.5
