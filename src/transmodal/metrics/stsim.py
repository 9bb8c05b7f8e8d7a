"""STSIM-1 and STSIM-2: similarity of textures, by the statistics of a complex steerable pyramid.

References:
    Structural Texture Similarity Metrics for Image Analysis and Retrieval (Zujovic, Pappas, Neuhoff, 2013).
    https://doi.org/10.1109/TIP.2013.2251645
"""

from collections.abc import Callable
from itertools import combinations, pairwise

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from transmodal.metrics.metric import Metric
from transmodal.metrics.region import box, check, over_slices
from transmodal.nn.steerable import Pyramid, steerable_pyramid

_WINDOW, _C = 7, 1e-3
_SCALES = 3
_LEAST = 64
"""The coarsest band of a smaller image has no room for a window."""
_LEVELS = 255.0
"""Images are scaled to 0 … 255, because C is not a fraction of the range."""

_AT_ONCE = 8
"""Slices whose bands are in memory."""

Scorer = Callable[[Tensor, Tensor], Tensor]


def stsim1(
    prediction: Float[Tensor, "C X Y Z"],
    reference: Float[Tensor, "C X Y Z"],
    mask: Bool[Tensor, "X Y Z"] | None = None,
    *,
    data_range: float,
) -> float:
    """STSIM-1, at most 1: the mean over 14 bands of (L · K · R01 · R10)^¼ in local windows of 7 voxels.

    Per band, with local means μ and standard deviations σ (Gaussian, σ = 7/6) and first autocorrelations ρ
    (uniform) of its complex coefficients: L = (2|μx||μy| + C) / (|μx|² + |μy|² + C),
    K = (2σxσy + C) / (σx² + σy² + C), R = 1 - ½|ρx - ρy| along either axis, C = 0.001 for images of 0 … 255.

    Two-dimensional: the mean over axial slices, or over the only ones there are where an axis is one voxel long.
    Colour counts as the mean of its channels. Of a mask the smallest box is looked at, and voxels outside the mask
    are 0 in both images, which are filled up with zeros to a multiple of 8 and at least 64.

    Args:
        prediction: in physical units.
        reference: in the same unit.
        mask: True where a voxel counts; None for all, which rewards an easy background.
        data_range: R, the width of the physical range.

    Raises:
        InputError: shapes differ, or the mask is empty.
        RecipeError: a range that is not above 0.
    """
    return _mean(_within_bands, prediction, reference, mask, data_range)


def stsim2(
    prediction: Float[Tensor, "C X Y Z"],
    reference: Float[Tensor, "C X Y Z"],
    mask: Bool[Tensor, "X Y Z"] | None = None,
    *,
    data_range: float,
) -> float:
    """STSIM-2, at most 1: the mean of the 14 terms of STSIM-1 and of 26 that compare bands with each other.

    These are 1 - ½|ρx - ρy| with ρ the local correlation (uniform window of 7) of the magnitudes of two bands of
    an undecimated pyramid: neighbouring scales of one orientation (8), and orientations of one scale (18). The
    rest is as in :func:`stsim1`.
    """

    def both(x: Tensor, y: Tensor) -> Tensor:
        terms = [*_terms(x, y), *_cross_terms(x, y)]
        return torch.stack(terms).mean(dim=0)

    return _mean(both, prediction, reference, mask, data_range)


@torch.no_grad()
def _mean(score: Scorer, prediction: Tensor, reference: Tensor, mask: Tensor | None, data_range: float) -> float:
    """The mean score of all slices in which there is a voxel of the mask."""
    check(prediction, reference, mask, data_range)
    if mask is not None:
        around = box(mask, 0)
        prediction, reference, mask = prediction[:, *around], reference[:, *around], mask[around]
    scores = []
    for x, y, inside in over_slices(prediction, reference, mask, _AT_ONCE):
        greys = (torch.where(inside, v.mean(dim=1), 0.0) * (_LEVELS / data_range) for v in (x, y))
        scores.append(score(*(_filled_up(grey) for grey in greys)))
    return float(torch.cat(scores).mean())


def _filled_up(stack: Float[Tensor, "B X Y"]) -> Float[Tensor, "B M N"]:
    multiple = 2**_SCALES
    rows, columns = (max(_LEAST, -(-n // multiple) * multiple) - n for n in stack.shape[1:])
    return functional.pad(stack, (0, columns, 0, rows))


def _bands(pyramid: Pyramid) -> list[Tensor]:
    flat = [band for scale in pyramid.bands for band in scale]
    return [pyramid.high.to(flat[0].dtype), *flat, pyramid.low.to(flat[0].dtype)]


def _within_bands(x: Float[Tensor, "B X Y"], y: Float[Tensor, "B X Y"]) -> Float[Tensor, " B"]:
    return torch.stack(_terms(x, y)).mean(dim=0)


def _terms(x: Tensor, y: Tensor) -> list[Tensor]:
    """One term for each of the 14 bands, for each image."""
    pyramids = (_bands(steerable_pyramid(image, scales=_SCALES)) for image in (x, y))
    return [_term(one, two) for one, two in zip(*pyramids, strict=True)]


def _term(x: Tensor, y: Tensor) -> Tensor:
    (mean_x, sd_x), (mean_y, sd_y) = _moments(x), _moments(y)
    luminance = (2 * mean_x * mean_y + _C) / (mean_x * mean_x + mean_y * mean_y + _C)
    contrast = (2 * sd_x * sd_y + _C) / (sd_x * sd_x + sd_y * sd_y + _C)
    along = [1 - (_neighbours(x, axis) - _neighbours(y, axis)).abs() / 2 for axis in (1, 2)]
    score = luminance * contrast * along[0] * along[1]
    return torch.where(score.isnan(), score, score.clamp(min=0)).pow(0.25).mean(dim=(1, 2))


def _moments(band: Tensor) -> tuple[Tensor, Tensor]:
    """|μ| and σ in Gaussian windows."""
    places = torch.arange(_WINDOW, dtype=torch.float64) - _WINDOW // 2
    line = torch.exp(-0.5 * (places / (_WINDOW / 6)) ** 2)
    line = line / line.sum()
    mean, power = (_smooth(v, line, line) for v in (band, band.abs().square()))
    return mean.abs(), _root(power.real - mean.abs().square())


def _neighbours(band: Tensor, axis: int) -> Tensor:
    """ρ of every voxel and the next one along ``axis``, in windows that hold both."""
    count = band.shape[axis] - 1
    sizes = [_WINDOW - (axis == along) for along in (1, 2)]
    return _correlation(band.narrow(axis, 0, count), band.narrow(axis, 1, count), sizes[0], sizes[1])


def _correlation(x: Tensor, y: Tensor, rows: int = _WINDOW, columns: int = _WINDOW) -> Tensor:
    """(E[x y*] - μx μy* + C) / (σx σy + C) in uniform windows."""
    lines = [torch.full((n,), 1 / n, dtype=torch.float64) for n in (rows, columns)]
    parts = (x, y, x.abs().square(), y.abs().square(), x * y.conj())
    mean_x, mean_y, power_x, power_y, product = (_smooth(part, *lines) for part in parts)
    sd_x, sd_y = (_root(p.real - m.abs().square()) for p, m in ((power_x, mean_x), (power_y, mean_y)))
    return (product - mean_x * mean_y.conj() + _C) / (sd_x * sd_y + _C)


def _cross_terms(x: Tensor, y: Tensor) -> list[Tensor]:
    """One term for each of 26 pairs of bands, for each image."""
    found = []
    for image in (x, y):
        pyramid = steerable_pyramid(image, scales=_SCALES, decimated=False)
        sizes = [[band.abs() for band in scale] for scale in pyramid.bands]
        pairs = [pair for one, two in pairwise(sizes) for pair in zip(one, two, strict=True)]
        pairs += [pair for scale in sizes for pair in combinations(scale, 2)]
        found.append([_correlation(one, two) for one, two in pairs])
    return [(1 - (one - two).abs() / 2).mean(dim=(1, 2)) for one, two in zip(*found, strict=True)]


def _smooth(band: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """A weighted mean in every window that lies inside."""
    band = torch.as_tensor(band)
    if band.is_complex():
        return torch.complex(_smooth(band.real, rows, columns), _smooth(band.imag, rows, columns))
    image = functional.conv2d(band[:, None], rows.to(band).view(1, 1, -1, 1))
    return functional.conv2d(image, columns.to(band).view(1, 1, 1, -1))[:, 0]


def _root(variance: Tensor) -> Tensor:
    """The root, of what rounding has made a hair negative too."""
    return torch.where(variance.isnan(), variance, variance.clamp(min=0)).sqrt()


STSIM_1, STSIM_2 = (
    Metric(
        name,
        function,
        unit="1",
        higher_is_better=True,
        best=1.0,
        needs_range=True,
        summary=f"similarity of textures {what}, slice by slice",
        slicewise=True,
    )
    for name, function, what in (
        ("STSIM-1", stsim1, "within bands"),
        ("STSIM-2", stsim2, "within and across bands"),
    )
)
