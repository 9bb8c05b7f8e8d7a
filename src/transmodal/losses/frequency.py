"""An image split into what a Gaussian keeps and what it removes: targets for networks with two branches."""

from jaxtyping import Float
from torch import Tensor

from transmodal.nn.gaussian import Edges, gaussian_filter
from transmodal.nn.precision import full_precision

_LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in brightness (ITU-R BT.601)."""


def frequency_targets(
    image: Float[Tensor, "B C X Y"], *, window: int = 21, sigma: float = 3.5, edges: Edges = "replicate"
) -> tuple[Float[Tensor, "B C X Y"], Float[Tensor, "B C X Y"]]:
    """What a branch of high and a branch of low frequencies should give.

    Low is the smoothed image; high is the rest, and both sum to the image. Of a colour image high is the rest of
    its brightness, three times: colour is a matter of low frequencies. From Macro2Micro
    (https://arxiv.org/abs/2412.11277), whose σ follows OpenCV's rule for a window of 21:
    0.3 ((21 - 1) / 2 - 1) + 0.8.

    Args:
        image: in any unit.
        window: taps of the Gaussian along each axis, an odd number.
        sigma: its standard deviation in voxels.
        edges: what lies outside the image. ``zeros`` draws a frame where the background is not 0.

    Returns:
        (high, low).
    """
    image = image.float()
    with full_precision(image):
        low = gaussian_filter(image, window, sigma, edges)
        if image.shape[1] != 3:
            return image - low, low
        luma = (image * image.new_tensor(_LUMA).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
        return (luma - gaussian_filter(luma, window, sigma, edges)).expand_as(image), low
