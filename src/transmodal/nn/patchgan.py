"""PatchGAN: a critic that scores every overlapping patch of an image on its own.

References:
    Image-to-Image Translation with Conditional Adversarial Networks (Isola et al., 2017), sections 3.2.2
    and 6.1.2. https://arxiv.org/abs/1611.07004
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from transmodal.data.task import Task
from transmodal.nn import init
from transmodal.nn.convnd import Norm, conv, needs_bias, norm


class PatchGAN(nn.Module):
    """The Markovian critic C64-C128-C256-C512 of pix2pix and CycleGAN.

    Every score sees a patch of ``receptive_field`` voxels along each axis: 70 for the default.

    Args:
        cin: channels in; for a conditional critic those of source and target together.
        spatial: number of spatial axes.
        width: channels of the first layer; doubled by each further one up to ``widest`` times.
        layers: convolutions with a stride of 2. 3 gives the patch of 70, 1 of 16, 5 of 286.
        norm_kind: normalisation of all layers but the first and the last.
        widest: channels of the widest layers, as a multiple of ``width``.
    """

    def __init__(
        self,
        cin: int,
        *,
        spatial: int = 2,
        width: int = 64,
        layers: int = 3,
        norm_kind: Norm = "batch",
        widest: int = 8,
    ) -> None:
        super().__init__()
        if layers < 1:
            raise ValueError(f"a PatchGAN of {layers} layers has nothing to look with; give at least 1")
        self.receptive_field = 9 * 2**layers - 2
        widths = [width * min(2**i, widest) for i in range(layers + 1)]
        strides = [2] * layers + [1]
        self.layers = nn.Sequential(
            conv(spatial, cin, widths[0], 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
        )
        for before, after, stride in zip(widths[:-1], widths[1:], strides[1:], strict=True):
            bias = needs_bias(norm_kind)
            self.layers.append(conv(spatial, before, after, 4, stride=stride, padding=1, bias=bias))
            self.layers.append(norm(spatial, norm_kind, after))
            self.layers.append(nn.LeakyReLU(0.2))
        self.layers.append(conv(spatial, widths[-1], 1, 4, padding=1))

    def forward(self, *images: Float[Tensor, "B _ *N"]) -> Float[Tensor, "B 1 *M"]:
        """Scores: large where a patch looks real. No squashing; the loss decides what they mean.

        Args:
            *images: what is seen together; a conditional critic sees the source and then the target.
        """
        scores: Tensor = self.layers(torch.cat(images, dim=1))
        return scores


def conditional_critic(task: Task, *, width: int, layers: int, norm_kind: Norm) -> PatchGAN:
    """D(x, y) of pix2pix: a :class:`PatchGAN` for the source and the target of ``task``, initialised as there."""
    channels = task.in_channels + task.out_channels
    return init.normal(PatchGAN(channels, spatial=task.spatial, width=width, layers=layers, norm_kind=norm_kind))
