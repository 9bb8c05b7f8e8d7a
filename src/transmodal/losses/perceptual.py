"""Distance between what a frozen network sees in two images."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import mse_loss


def perceptual(
    features: Callable[[Tensor], list[Tensor]],
    prediction: Float[Tensor, "B C X Y"],
    truth: Float[Tensor, "B C X Y"],
) -> Float[Tensor, ""]:
    """Σ over taps of the mean squared difference of features; 0 for identical images.

    From Perceptual Losses for Real-Time Style Transfer and Super-Resolution (Johnson et al., 2016), equation 2,
    https://arxiv.org/abs/1603.08155. Gradients reach the prediction alone.

    Args:
        features: a frozen network, such as :class:`transmodal.nn.features.VGG19`.
        prediction: in [-1, 1].
        truth: in [-1, 1].
    """
    with torch.no_grad():
        wanted = features(truth)
    made = features(prediction)
    distances = [mse_loss(m.float(), w.float()) for m, w in zip(made, wanted, strict=True)]
    return torch.stack(distances).sum()
