"""What masks should do: discard little of what is strong, and pass little of what is weak.

Section 3 of our reading of MRNet (https://arxiv.org/abs/2412.03039). The names of both terms are published,
"feature discarding" and "mask sparsity"; the formulas are ours. A site is a place where K masks M_1 … M_K are laid
on features X_0 … X_{K-1}; every mean is over sites and masks alike. With both terms the best mask at a place of
relative strength a is 1 where a > λ_ms / λ_fd and 0 elsewhere.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

Discarding = Literal["energy", "mismatch", "raw"]
"""What a mask is charged for: ``energy`` that it discards, relative to the mean; ``raw`` energy, with gradients
into the features; or passing features from where the image is wrong (``mismatch``)."""

Loss = Float[Tensor, ""]
Maps = Sequence[Float[Tensor, "B _ _ _"]]


def mask_sparsity(sites: Sequence[Maps], rate: float | None = None) -> Loss:
    """Mean of all masks: 0 iff all are 0, 1 iff all are 1.

    Args:
        sites: masks of each site, in [0, 1].
        rate: instead, the mean of KL(rate ‖ mean of a mask), which is 0 where every mask passes this share.
    """
    if rate is None:
        return torch.stack([mask.float().mean() for masks in sites for mask in masks]).mean()
    shares = torch.stack([mask.float().mean() for masks in sites for mask in masks]).clamp(1e-6, 1 - 1e-6)
    wanted = torch.full_like(shares, rate)
    kept = torch.xlogy(wanted, wanted / shares)
    lost = torch.xlogy(1 - wanted, (1 - wanted) / (1 - shares))
    return (kept + lost).mean()


def feature_discarding(
    sites: Sequence[tuple[Maps, Maps]], mode: Discarding = "energy", error: Float[Tensor, "B C X Y"] | None = None
) -> Loss:
    """What masks throw away.

    ``energy``: mean of a (1 - M_k), a = |X_{k-1}| / mean |X_{k-1}|, the mean over each sample; a is averaged over
    channels where a mask has one. No gradient reaches the features: the net would shrink them.
    ``mismatch``: mean of (mean_k M_k) e, where e = |ŷ - y| / mean |ŷ - y| on the site's grid, without gradient.

    Args:
        sites: (masks, what they were laid on) of each site.
        mode: the formula.
        error: ŷ - y, for ``mismatch``.
    """
    if mode == "mismatch":
        if error is None:
            raise ValueError("mismatch needs the error of the image")
        wrong = _relative(error.detach().float().abs().mean(dim=1, keepdim=True))
        found = []
        for masks, _ in sites:
            passed = torch.stack([mask.float() for mask in masks]).mean(dim=0)
            found.append((passed * adaptive_avg_pool2d(wrong, (passed.shape[2], passed.shape[3]))).mean())
        return torch.stack(found).mean()
    found = []
    for masks, inputs in sites:
        for mask, features in zip(masks, inputs, strict=True):
            strength = features.float().abs()
            strength = strength if mode == "raw" else _relative(strength.detach())
            if mask.shape[1] == 1:
                strength = strength.mean(dim=1, keepdim=True)
            found.append((strength * (1 - mask.float())).mean())
    return torch.stack(found).mean()


def _relative(values: Tensor) -> Tensor:
    return values / (values.mean(dim=(1, 2, 3), keepdim=True) + 1e-6)


def mask_readings(masks: Maps) -> dict[str, Tensor]:
    """What the masks of a site are like: mean, the shares that are nearly 0 and 1, and how alike they are."""
    values = torch.cat([mask.detach().float().flatten() for mask in masks])
    found = {
        "mean": values.mean(),
        "closed": (values < 0.05).float().mean(),
        "open": (values > 0.95).float().mean(),
        "effective": effective_masks(masks),
    }
    return found | ({"correlation": mask_correlation(masks), "overlap": soft_iou(masks)} if len(masks) > 1 else {})


def effective_masks(masks: Maps) -> Loss:
    """(Σλ)² / Σλ², λ the eigenvalues of the masks' K x K covariance: 1 if all are alike, K if independent.

    Masks that do not vary at all count as alike. Those with values for each channel are compared channel by
    channel.
    """
    flat = torch.stack([mask.detach().float().flatten() for mask in masks])
    centred = flat - flat.mean(dim=1, keepdim=True)
    gram = centred @ centred.T / centred.shape[1]
    # tr(G)² / ‖G‖² equals the ratio of the eigenvalues' sums, without finding them.
    number = gram.trace().square() / gram.square().sum().clamp(min=1e-24)
    return torch.where(gram.trace() > 1e-12, number, torch.ones_like(number))


def mask_correlation(masks: Maps) -> Loss:
    """Mean of |r| over pairs of masks; 1 if all are alike up to scale."""
    flat = torch.stack([mask.detach().float().flatten() for mask in masks])
    pairs = torch.corrcoef(flat)[*torch.triu_indices(len(flat), len(flat), 1)]
    return pairs.nan_to_num(1.0).abs().mean()


def soft_iou(masks: Maps) -> Loss:
    """Mean over pairs of Σ min / Σ max; 1 for equal masks, 0 for masks that share nothing."""
    flat = [mask.detach().float().flatten() for mask in masks]
    found = [
        torch.minimum(a, b).sum() / torch.maximum(a, b).sum().clamp(min=1e-12)
        for k, a in enumerate(flat)
        for b in flat[k + 1 :]
    ]
    return torch.stack(found).mean()
