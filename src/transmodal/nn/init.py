"""Initial weights as published."""

from typing import TypeVar

from torch import nn

Network = TypeVar("Network", bound=nn.Module)

_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear)
_BATCH_NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)


def normal(network: Network, sd: float = 0.02) -> Network:
    """Draw weights from N(0, ``sd``²), the scales of batch norms from N(1, ``sd``²); biases and shifts are 0.

    From DCGAN (Radford et al. 2016, https://arxiv.org/abs/1511.06434, section 3); pix2pix (section 6.2)
    and CycleGAN (section 7.2) use it as well. Changes ``network`` in place and returns it.
    """
    for layer in network.modules():
        if isinstance(layer, _CONVOLUTIONS):
            nn.init.normal_(layer.weight, 0.0, sd)
        elif isinstance(layer, _BATCH_NORMS):
            nn.init.normal_(layer.weight, 1.0, sd)
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    return network
