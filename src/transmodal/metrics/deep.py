"""Distances between what a frozen network sees: LPIPS of pairs, FID and KID of two sets of slices.

They say nothing without the network: its weights and layers are a part of the value. All are functions of
features; which network made them is for the caller to declare (:mod:`transmodal.evaluation.features`).

References:
    Zhang et al., "The unreasonable effectiveness of deep features as a perceptual metric", CVPR 2018, equation 1.
    https://arxiv.org/abs/1801.03924
    Heusel et al., "GANs trained by a two time-scale update rule …" (FID), 2017. https://arxiv.org/abs/1706.08500
    Bińkowski et al., "Demystifying MMD GANs" (KID), 2018. https://arxiv.org/abs/1801.01401
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def lpips(
    prediction: Sequence[Float[Tensor, "B ..."]], reference: Sequence[Float[Tensor, "B ..."]]
) -> Float[Tensor, " B"]:
    """LPIPS with every weight 1: Σ over layers of the mean over places of |x̂ - ŷ|², per image, in [0, inf).

    x̂ is the vector of all channels at a place, divided by its length. The published LPIPS has learnt weights for
    AlexNet and VGG-16; without them the paper's own comparison calls this the network "off the shelf". Values of
    the two must not be compared.

    Args:
        prediction: features (B, C, X, Y) of each layer.
        reference: the same of the reference.
    """
    distances = []
    for x, y in zip(prediction, reference, strict=True):
        x, y = (v.double() / (v.double().norm(dim=1, keepdim=True) + 1e-10) for v in (x, y))
        distances.append((x - y).square().sum(dim=1).mean(dim=(1, 2)))
    return torch.stack(distances).sum(dim=0)


def fid(prediction: Float[Tensor, "N D"], reference: Float[Tensor, "M D"]) -> float:
    """FID = |μx - μy|² + tr(Σx + Σy - 2 (Σx Σy)^½) of two sets of features, in [0, inf).

    Undefined (NaN) unless both sets have more images than features: fewer leave the covariance without full rank,
    and the value then says more about their number than about the images.
    """
    if min(len(prediction), len(reference)) <= prediction.shape[1]:
        return float("nan")
    x, y = prediction.double(), reference.double()
    gap = (x.mean(dim=0) - y.mean(dim=0)).square().sum()
    first, second = torch.cov(x.T), torch.cov(y.T)
    root = torch.linalg.eigvals(first @ second).real.clamp(min=0).sqrt().sum()
    return float(gap + first.trace() + second.trace() - 2 * root)


def kid(prediction: Float[Tensor, "N D"], reference: Float[Tensor, "M D"]) -> float:
    """KID: the unbiased squared MMD with the kernel (x·y / D + 1)³, over all pairs; 0 on average for equal sets.

    Unlike FID it is unbiased for few images, so it can be a little below 0. Undefined (NaN) below two images.
    """
    if min(len(prediction), len(reference)) < 2:
        return float("nan")
    x, y = prediction.double(), reference.double()

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / a.shape[1] + 1) ** 3

    def within(a: Tensor) -> Tensor:
        similar = kernel(a, a)
        return (similar.sum() - similar.trace()) / (len(a) * (len(a) - 1))

    return float(within(x) + within(y) - 2 * kernel(x, y).mean())
