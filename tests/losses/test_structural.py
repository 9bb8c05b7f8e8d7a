import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics.regression import SSIMMetric, compute_ms_ssim
from pytorch_msssim import ms_ssim as peer_ms_ssim
from pytorch_msssim import ssim as peer_ssim
from pytorch_msssim.ssim import _ssim as scale_of_peer
from skimage.metrics import structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure

from transmodal.errors import RecipeError
from transmodal.losses.structural import (
    MS_SSIM_WEIGHTS,
    combine_scales,
    ms_ssim,
    scale_weights,
    scales_that_fit,
    ssim,
    ssim_map,
    ssim_parts,
)


def pair(shape, data_range=1.0, seed=0, dtype=torch.float64, noise=0.1):
    generator = torch.Generator().manual_seed(seed)
    target = torch.rand(shape, generator=generator, dtype=dtype) * data_range
    return target + noise * data_range * torch.randn(shape, generator=generator, dtype=dtype), target


def exact_window(channels, spatial):
    """pytorch-msssim's own window is rounded to float32; in float64 both must agree to the last digits."""
    taps = torch.exp(-((torch.arange(11, dtype=torch.float64) - 5) ** 2) / 4.5)
    return (taps / taps.sum()).view(1, *[1] * spatial, 11).repeat(channels, *[1] * spatial, 1)


@pytest.mark.parametrize("data_range", [1.0, 255.0, 4095.0])
@pytest.mark.parametrize("size", [(29,), (33, 24), (16, 11), (17, 14, 12), (24, 31, 20)])
def test_map_equals_scikit_image_up_to_the_borders(size, data_range):
    prediction, target = pair((2, 3, *size), data_range)
    ours = ssim_map(prediction, target, data_range=data_range).numpy()
    for b in range(2):
        for c in range(3):
            theirs = structural_similarity(
                prediction[b, c].numpy(), target[b, c].numpy(), data_range=data_range,
                gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True,
            )[1]  # fmt: skip
            np.testing.assert_allclose(ours[b, c], theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize("size", [(33, 24), (17, 14, 12)])
def test_valid_equals_pytorch_msssim_and_monai(size):
    prediction, target = pair((2, 1, *size), 255.0)
    ours = ssim(prediction, target, data_range=255.0, padding="valid").item()
    theirs = peer_ssim(prediction, target, data_range=255.0, win=exact_window(1, len(size))).item()
    monai = SSIMMetric(spatial_dims=len(size), data_range=255.0)(prediction, target).mean().item()
    assert ours == pytest.approx(theirs, abs=1e-10)
    assert ours == pytest.approx(monai, abs=5e-5)  # MONAI computes in float32


@pytest.mark.parametrize("size", [(33, 24), (17, 14, 15)])
def test_torchmetrics_agrees_inside_and_differs_only_at_the_mirrored_border(size):
    prediction, target = pair((1, 1, *size))
    ours = ssim_map(prediction, target, data_range=1.0)
    theirs = structural_similarity_index_measure(prediction, target, data_range=1.0, return_full_image=True)[1]
    inside = (..., *[slice(5, -5)] * len(size))
    torch.testing.assert_close(ours[inside], theirs[inside], rtol=0, atol=1e-6)
    assert not torch.allclose(ours, theirs, atol=1e-3)


def test_sigma_and_window_are_used():
    prediction, target = pair((1, 1, 31, 28))
    ours = ssim_map(prediction, target, data_range=1.0, window=15, sigma=2.0, k1=0.02, k2=0.05)[0, 0].numpy()
    theirs = structural_similarity(
        prediction[0, 0].numpy(), target[0, 0].numpy(), data_range=1.0, gaussian_weights=True, sigma=2.0,
        use_sample_covariance=False, full=True, K1=0.02, K2=0.05,
    )[1]  # fmt: skip
    np.testing.assert_allclose(ours, theirs, atol=1e-10)


def test_golden_constants():
    # Two constants a, b: no contrast, so cs = 1 and l = (2ab + C1) / (a² + b² + C1).
    prediction, target = (torch.full((1, 1, 12, 12), v, dtype=torch.float64) for v in (0.5, 1.0))
    expected = (2 * 0.5 + 1e-4) / (1.25 + 1e-4)
    assert ssim(prediction, target, data_range=1.0).item() == pytest.approx(expected, abs=1e-9)
    luminance, structure = ssim_parts(prediction, target, data_range=1.0)
    torch.testing.assert_close(structure, torch.ones_like(structure), atol=1e-9, rtol=0)
    torch.testing.assert_close(luminance, torch.full_like(luminance, expected))


@pytest.mark.parametrize("size", [(4,), (3, 30), (2, 5, 9)])
def test_axis_shorter_than_the_window_is_mirrored_again_and_again(size):
    # Mirroring a volume by hand three times over gives the same middle.
    prediction, target = pair((1, 1, *size))
    ours = ssim_map(prediction, target, data_range=1.0)
    wide = [
        torch.from_numpy(np.pad(v[0, 0].numpy(), 12, mode="symmetric"))[None, None] for v in (prediction, target)
    ]
    middle = (..., *[slice(12, 12 + n) for n in size])
    torch.testing.assert_close(ours, ssim_map(*wide, data_range=1.0)[middle], rtol=0, atol=1e-12)


def test_axis_of_one_voxel_is_no_axis():
    prediction, target = pair((1, 1, 20, 17))
    flat = ssim_map(prediction, target, data_range=1.0)
    torch.testing.assert_close(
        ssim_map(prediction[..., None], target[..., None], data_range=1.0)[..., 0], flat, rtol=0, atol=1e-12
    )


@pytest.mark.parametrize(
    ("size", "scales"), [((176, 180), 5), ((48, 50), 3), ((44, 48, 46), 3), ((22, 22, 22), 2)]
)
def test_ms_ssim_equals_monai(size, scales):
    prediction, target = pair((2, 1, *size), 255.0, noise=0.3)
    assert scales_that_fit(size) == scales
    theirs = compute_ms_ssim(
        prediction, target, spatial_dims=len(size), data_range=255.0, weights=scale_weights(scales)
    )
    ours = ms_ssim(prediction, target, data_range=255.0).item()
    assert ours == pytest.approx(theirs.mean().item(), abs=5e-5)  # MONAI computes in float32


def test_ms_ssim_equals_pytorch_msssim():
    # Sides divisible by 16: pytorch-msssim pads odd ones with zeros, we drop the last layer.
    prediction, target = pair((2, 3, 176, 192), 1.0, noise=0.3)
    theirs = peer_ms_ssim(prediction, target, data_range=1.0, win=exact_window(3, 2)).item()
    assert ms_ssim(prediction, target, data_range=1.0).item() == pytest.approx(theirs, abs=1e-10)


def test_ms_ssim_in_3d_equals_scales_of_pytorch_msssim():
    prediction, target = pair((1, 2, 44, 48, 52), 1.0, noise=0.3)
    ours = ms_ssim(prediction, target, data_range=1.0).item()
    means = []
    for scale in range(3):
        full, structure = scale_of_peer(prediction, target, data_range=1.0, win=exact_window(2, 3))
        means.append((full if scale == 2 else structure).numpy())
        prediction, target = (torch.nn.functional.avg_pool3d(v, 2) for v in (prediction, target))
    weights = np.array(MS_SSIM_WEIGHTS[:3]) / sum(MS_SSIM_WEIGHTS[:3])
    expected = np.prod([m**w for m, w in zip(means, weights, strict=True)], axis=0).mean()
    assert ours == pytest.approx(expected, abs=1e-10)


def test_scales_and_weights():
    assert [scales_that_fit((n, 300)) for n in (10, 11, 21, 22, 43, 44, 88, 175, 176, 1000)] == [
        0, 1, 1, 2, 2, 3, 4, 4, 5, 5,
    ]  # fmt: skip
    assert sum(scale_weights(5)) == pytest.approx(1.0001)
    assert scale_weights(2) == pytest.approx((0.0448 / 0.3304, 0.2856 / 0.3304))
    for scales in (1, 2, 3, 4):
        assert sum(scale_weights(scales)) == pytest.approx(1.0)


def test_a_negative_scale_counts_as_zero_and_sends_no_nan():
    means = torch.tensor([[0.5, -0.1, 0.5], [0.9, 0.9, 0.0]], requires_grad=True)
    value = combine_scales(means)
    w = scale_weights(2)
    assert value.tolist() == pytest.approx([0.5 ** w[0] * 0.9 ** w[1], 0.0, 0.0])
    value.sum().backward()
    assert means.grad is not None
    assert means.grad[:, 0].gt(0).all()
    assert means.grad[:, 1:].eq(0).all()
    assert math.isnan(combine_scales(torch.tensor([math.nan, 0.5])).item())


def test_anticorrelated_images_score_zero_with_finite_gradient():
    _, target = pair((1, 1, 48, 48))
    prediction = (1 - target).requires_grad_()
    value = ms_ssim(prediction, target, data_range=1.0)
    value.backward()
    assert value.item() == 0.0
    assert prediction.grad is not None
    assert prediction.grad.isfinite().all()


@pytest.mark.parametrize("function", [ssim, ms_ssim])
def test_gradient_equals_finite_differences(function):
    prediction, target = pair((1, 1, 12, 13))
    prediction.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: function(x, target, data_range=1.0), (prediction,))


@pytest.mark.parametrize("function", [ssim, ms_ssim])
def test_descent_restores_the_image(function):
    prediction, target = pair((1, 1, 24, 24), noise=0.3)
    prediction = prediction.requires_grad_()
    optimizer = torch.optim.Adam([prediction], lr=0.02)
    before = (prediction - target).abs().mean().item()
    for _ in range(150):
        optimizer.zero_grad()
        loss = 1 - function(prediction, target, data_range=1.0)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.02
    assert (prediction - target).abs().mean().item() < 0.4 * before


def test_mixed_precision_does_not_reach_the_moments():
    prediction, target = pair((1, 1, 24, 24), dtype=torch.float32)
    expected = ssim(prediction, target, data_range=1.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(ssim(prediction, target, data_range=1.0), expected)
    half = ssim(prediction.bfloat16(), target.bfloat16(), data_range=1.0)
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(expected.item(), abs=5e-3)


def test_float32_is_close_to_float64_on_ct_values():
    prediction, target = pair((1, 1, 20, 20, 20), 4095.0)
    prediction, target = prediction - 1024, target - 1024
    low = ssim(prediction.float(), target.float(), data_range=4095.0).item()
    assert low == pytest.approx(ssim(prediction, target, data_range=4095.0).item(), abs=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 999), st.integers(1, 3), st.floats(1e-3, 1e4), st.sampled_from(["symmetric", "valid"]))
def test_properties(seed, spatial, data_range, padding):
    prediction, target = pair((1, 1, *(11, 13, 12)[:spatial]), data_range, seed)
    one_way = ssim_map(prediction, target, data_range=data_range, padding=padding)
    other_way = ssim_map(target, prediction, data_range=data_range, padding=padding)
    torch.testing.assert_close(one_way, other_way, rtol=0, atol=1e-12)
    assert one_way.abs().max() <= 1 + 1e-9
    assert ssim_map(target, target, data_range=data_range, padding=padding).eq(1).all()
    unit = ssim_map(prediction / data_range, target / data_range, data_range=1.0, padding=padding)
    torch.testing.assert_close(one_way, unit, rtol=0, atol=1e-9)


def test_refuses_settings_without_meaning():
    prediction, target = pair((1, 1, 8, 30))
    for data_range in (0.0, -1.0, float("nan")):
        with pytest.raises(RecipeError, match="data_range"):
            ssim(prediction, target, data_range=data_range)
    with pytest.raises(RecipeError, match="odd"):
        ssim(prediction, target, data_range=1.0, window=10)
    with pytest.raises(RecipeError, match="8×30"):
        ssim(prediction, target, data_range=1.0, padding="valid")
    with pytest.raises(RecipeError, match="8×30"):
        ms_ssim(prediction, target, data_range=1.0)
