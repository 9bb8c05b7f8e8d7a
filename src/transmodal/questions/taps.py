"""Taps: the features and masks that pass through a method while it translates, for those who measure them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from transmodal.methods._method import Method
from transmodal.nn.encoder import ConvPyramid, FeatureMap, PretrainedEncoder
from transmodal.nn.masked_unet import MaskedUNet
from transmodal.nn.masks import Masked, MaskStack


@dataclass
class Heard:
    """What passed, in the order of the slices.

    Attributes:
        encoder: the encoder's maps, fine ones first; an item for each batch, cut to the slice.
        stages: the same of the U-Net's own stages, from full size down.
        masks: site → its masks, (B, C, X, Y) of each, an item for each batch.
    """

    encoder: list[list[FeatureMap]] = field(default_factory=list)
    stages: list[list[FeatureMap]] = field(default_factory=list)
    masks: dict[str, list[tuple[Tensor, ...]]] = field(default_factory=dict)

    def site(self, name: str) -> list[Tensor]:
        """The masks of a site, each over all batches."""
        return [torch.cat(mask) for mask in zip(*self.masks[name], strict=True)]


@contextmanager
def tapped(method: Method) -> Iterator[Heard]:
    """Listen to encoders, U-Net stages and masks inside the block."""
    assert isinstance(method, nn.Module)
    heard = Heard()

    def note_encoder(_: nn.Module, inputs: tuple[Any, ...], maps: list[FeatureMap]) -> None:
        size = inputs[0].shape[2:]
        heard.encoder.append([_cut(m, size[0], size[1]) for m in maps])

    def note_stage(level: int, features: Tensor) -> None:
        if level == 0:
            heard.stages.append([])
        heard.stages[-1].append(FeatureMap(features.detach().float().cpu(), float(2**level)))

    def note_masks(site: str, masked: Masked) -> None:
        heard.masks.setdefault(site, []).append(tuple(m.detach().float().cpu() for m in masked.masks))

    hooks = []
    for name, module in method.named_modules():
        if isinstance(module, PretrainedEncoder | ConvPyramid):
            hooks.append(module.register_forward_hook(note_encoder))
        elif isinstance(module, MaskStack):
            site = name.rsplit(".", 1)[-1]
            hooks.append(module.register_forward_hook(lambda m, i, answer, site=site: note_masks(site, answer)))
        elif isinstance(module, MaskedUNet):
            for level, stage in enumerate(module.encoder):
                hooks.append(
                    stage.register_forward_hook(lambda m, i, answer, level=level: note_stage(level, answer))
                )
    try:
        yield heard
    finally:
        for hook in hooks:
            hook.remove()


def _cut(given: FeatureMap, rows: int, columns: int) -> FeatureMap:
    """A map without what lies beyond the slice: encoders see squares, filled up at the far ends."""
    x, y = (max(1, round(n / given.stride)) for n in (rows, columns))
    return FeatureMap(given.values[..., :x, :y].detach().float().cpu(), given.stride)
