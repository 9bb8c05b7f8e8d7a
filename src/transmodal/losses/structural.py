"""The SSIM family: differentiable, for one to three spatial axes, in at least float32.

    Z. Wang, A. C. Bovik, H. R. Sheikh, E. P. Simoncelli, "Image quality assessment: from error visibility to
    structural similarity", IEEE Trans. Image Processing 13(4), 2004. https://doi.org/10.1109/TIP.2003.819861
    Z. Wang, E. P. Simoncelli, A. C. Bovik, "Multiscale structural similarity for image quality assessment",
    Asilomar 2003. https://doi.org/10.1109/ACSSC.2003.1292216

With a Gaussian window w, the local moments of prediction x and target y are μ = w∗x, σ² = w∗x² − μ²,
σxy = w∗xy − μxμy. For a data range R, C1 = (k1 R)² and C2 = (k2 R)²::

    luminance           l  = (2 μx μy + C1) / (μx² + μy² + C1)
    contrast·structure  cs = (2 σxy + C2) / (σx² + σy² + C2)
    SSIM                   = l · cs
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from transmodal.errors import RecipeError
from transmodal.nn.gaussian import gaussian_filter
from transmodal.nn.precision import full_precision

Padding = Literal["symmetric", "zeros", "valid"]

MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the five scales, fine to coarse (Wang et al. 2003, section 3.2); they sum to 1.0001."""

WINDOWS = (11, 9, 7, 5, 3)
"""The windows of :func:`window_ssims`."""

_POOL = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}


def ssim_map(
    prediction: Float[Tensor, "B C *N"],
    target: Float[Tensor, "B C *N"],
    *,
    data_range: float,
    window: int = 11,
    sigma: float = 1.5,
    k1: float = 0.01,
    k2: float = 0.03,
    padding: Padding = "symmetric",
) -> Float[Tensor, "B C *M"]:
    """SSIM around every voxel, in [-1, 1].

    Equals scikit-image's ``structural_similarity(gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False, full=True)``, borders included, channel by channel.

    Args:
        prediction: any unit.
        target: in the same unit.
        data_range: R, the width of the physical range (2 for values in [-1, 1], 4095 for CT).
        window: voxels along each edge of the Gaussian window, an odd number.
        sigma: its standard deviation in voxels.
        k1: constant of the luminance term.
        k2: constant of the contrast term.
        padding: ``symmetric`` mirrors the image at its faces (c b a | a b c) and keeps its size; ``zeros`` keeps
            it, too, and sees zeros outside; ``valid`` keeps only windows that lie inside, which is
            ``window - 1`` voxels less along each axis.

    Raises:
        RecipeError: a range that is not positive, an even window, or one that does not fit (``valid``).
    """
    luminance, structure = ssim_parts(
        prediction, target, data_range=data_range, window=window, sigma=sigma, k1=k1, k2=k2, padding=padding
    )
    return luminance * structure


def ssim_parts(
    prediction: Float[Tensor, "B C *N"],
    target: Float[Tensor, "B C *N"],
    *,
    data_range: float,
    window: int = 11,
    sigma: float = 1.5,
    k1: float = 0.01,
    k2: float = 0.03,
    padding: Padding = "symmetric",
) -> tuple[Float[Tensor, "B C *M"], Float[Tensor, "B C *M"]]:
    """The two factors of SSIM around every voxel: luminance, and contrast times structure.

    Arguments and errors as in :func:`ssim_map`.
    """
    if not data_range > 0:
        raise RecipeError(f"data_range = {data_range}: give the width of the physical range, above 0")
    c1, c2 = (k1 * data_range) ** 2, (k2 * data_range) ** 2
    # Mixed precision would round the moments to 8 bits.
    with full_precision(prediction):
        dtype = torch.promote_types(torch.promote_types(prediction.dtype, target.dtype), torch.float32)
        x, y = prediction.to(dtype), target.to(dtype)
        moments = gaussian_filter(torch.cat([x, y, x * x + y * y, x * y]), window, sigma, padding)
        mean_x, mean_y, squares, product = moments.chunk(4)
        means, mean_squares = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
        luminance = (2 * means + c1) / (mean_squares + c1)
        structure = (2 * (product - means) + c2) / (squares - mean_squares + c2)
    return luminance, structure


def ssim(
    prediction: Float[Tensor, "B C *N"],
    target: Float[Tensor, "B C *N"],
    *,
    data_range: float,
    window: int = 11,
    sigma: float = 1.5,
    k1: float = 0.01,
    k2: float = 0.03,
    padding: Padding = "symmetric",
) -> Float[Tensor, ""]:
    """Mean of :func:`ssim_map` over batch, channels and voxels; 1 for identical images. A loss is ``1 - ssim``."""
    return ssim_map(
        prediction, target, data_range=data_range, window=window, sigma=sigma, k1=k1, k2=k2, padding=padding
    ).mean()


def window_ssims(
    prediction: Float[Tensor, "B C *N"],
    target: Float[Tensor, "B C *N"],
    *,
    data_range: float,
    windows: Sequence[int] = WINDOWS,
    padding: Padding = "zeros",
) -> Float[Tensor, " W"]:
    """SSIM in several Gaussian windows of one σ: not scales, as no image is made smaller. 1 for identical images.

    The sum over windows of ``1 - SSIM`` is the structural loss of Mathur et al. 2025
    (https://arxiv.org/abs/2412.10452), whose code sees zeros outside the image and calls it MS-SSIM, which it is
    not.

    Args:
        prediction: as in :func:`ssim_map`.
        target: in the same unit.
        data_range: as in :func:`ssim_map`.
        windows: voxels along each edge of every window; the smaller ones cut the Gaussian short.
        padding: as in :func:`ssim_map`.
    """
    values = [ssim(prediction, target, data_range=data_range, window=n, padding=padding) for n in windows]
    return torch.stack(values)


def ms_ssim(
    prediction: Float[Tensor, "B C *N"],
    target: Float[Tensor, "B C *N"],
    *,
    data_range: float,
    window: int = 11,
    sigma: float = 1.5,
    k1: float = 0.01,
    k2: float = 0.03,
) -> Float[Tensor, ""]:
    """MS-SSIM: the product over scales of cs^w, with l·cs at the coarsest, in [0, 1]; 1 for identical images.

    Windows lie inside the image (``valid``), scales are halved by 2x average pooling, and each sample and
    channel is scored by itself, then averaged. Where an image is too small for five scales, as many as fit are
    used (:func:`scales_that_fit`), their weights divided by their sum. A scale whose mean is negative counts
    as 0: the sample scores 0 and sends no gradient, so give an untrained network an L1 term as well.

    Arguments as in :func:`ssim_map`.

    Raises:
        RecipeError: as :func:`ssim_map`; also where not even one scale fits.
    """
    scales = scales_that_fit(prediction.shape[2:], window)
    if scales == 0:
        size = "×".join(str(n) for n in prediction.shape[2:])
        raise RecipeError(f"MS-SSIM needs {window} voxels along each axis, these images have {size}; use SSIM")
    means = []
    for scale in range(scales):
        luminance, structure = ssim_parts(
            prediction, target, data_range=data_range, window=window, sigma=sigma, k1=k1, k2=k2, padding="valid"
        )
        last = scale == scales - 1
        means.append((luminance * structure if last else structure).flatten(2).mean(-1))
        if not last:
            prediction, target = halve(prediction), halve(target)
    return combine_scales(torch.stack(means)).mean()


def scales_that_fit(size: Sequence[int], window: int = 11) -> int:
    """How many of the five scales of MS-SSIM keep at least ``window`` voxels along every axis."""
    shortest, scales = min(size), 0
    while scales < len(MS_SSIM_WEIGHTS) and shortest >> scales >= window:
        scales += 1
    return scales


def scale_weights(scales: int) -> tuple[float, ...]:
    """Exponents for ``scales`` scales: the paper's for all five, else the first ones divided by their sum."""
    weights = MS_SSIM_WEIGHTS[:scales]
    return weights if scales == len(MS_SSIM_WEIGHTS) else tuple(w / sum(weights) for w in weights)


def combine_scales(means: Float[Tensor, "K *B"]) -> Float[Tensor, "*B"]:
    """The weighted product over scales, fine to coarse; 0 where any mean is negative."""
    weights = means.new_tensor(scale_weights(len(means))).view(-1, *[1] * (means.ndim - 1))
    positive = means > 0
    # The power of a clamped zero has an infinite slope, and 0 times infinity is NaN: put a 1 there instead.
    product = torch.where(positive | means.isnan(), means, 1.0).pow(weights).prod(dim=0)
    return torch.where((positive | means.isnan()).all(dim=0), product, 0.0)


def halve(image: Float[Tensor, "B C *N"]) -> Float[Tensor, "B C *M"]:
    """Half the voxels along each axis: the mean of 2, 4 or 8; an odd last one is dropped."""
    return _POOL[image.ndim - 2](image, 2)
