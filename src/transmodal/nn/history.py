"""A pool of past fakes, so that a critic does not forget what it has already caught.

References:
    Learning from Simulated and Unsupervised Images through Adversarial Training (Shrivastava et al., 2017),
    section 2.3. https://arxiv.org/abs/1612.07828
    CycleGAN (Zhu et al., 2017), section 4, keeps 50 images. https://arxiv.org/abs/1703.10593
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


class ImagePool(nn.Module):
    """Mixes new images with old ones.

    Until the pool is full every image is stored and returned. From then on each image is, with probability
    one half, exchanged for a random old one. Random choices come from torch's global generator on the CPU.

    The images are a buffer, in the order of their places, and their number is how full the pool is: a run
    resumed from a state dict goes on exactly as if it had never stopped.

    Args:
        size: most images kept; 0 returns every image as it is.
    """

    images: Tensor

    def __init__(self, size: int = 50) -> None:
        super().__init__()
        if size < 0:
            raise ValueError(f"a pool cannot hold {size} images; give 0 or more")
        self.size = size
        # The shape of an image is not known before the first one comes.
        self.register_buffer("images", torch.zeros(0))

    def forward(self, new: Float[Tensor, "B C *N"]) -> Float[Tensor, "B C *N"]:
        """A batch for the critic, without gradients; some images may be from earlier calls."""
        new = new.detach()
        if self.images.shape[1:] != new.shape[1:]:
            self.images = new.new_zeros((0, *new.shape[1:]), dtype=torch.float32)
        return torch.stack([self._exchange(image) for image in new])

    def _exchange(self, image: Tensor) -> Tensor:
        if len(self.images) < self.size:
            self.images = torch.cat([self.images, image[None].float()])
            return image
        if self.size == 0 or torch.rand(()) < 0.5:
            return image
        place = int(torch.randint(self.size, ()))
        old = self.images[place].clone()
        self.images[place] = image
        return old.to(image.dtype)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Take the stored images whatever their number and shape; torch alone would refuse the change."""
        stored = state_dict.get(prefix + "images")
        if stored is not None:
            self.images = self.images.new_zeros(stored.shape)
        super()._load_from_state_dict(state_dict, prefix, *args)
