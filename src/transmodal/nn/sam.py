"""SAM and SAM 2: their image encoders, as transformers writes them, at any input size.

References:
    Segment Anything (Kirillov et al., 2023). https://arxiv.org/abs/2304.02643
    Segment Anything in Medical Images (Ma et al., 2023): the same network. https://arxiv.org/abs/2304.12306
    SAM 2: Segment Anything in Images and Videos (Ravi et al., 2024). https://arxiv.org/abs/2408.00714

A ViT of SAM has one resolution, a token for 16 pixels; its taps are different depths of it. Hiera has four.
"""

import re
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional

from transmodal.errors import RecipeError
from transmodal.nn.encoder import Backbone

Taps = Literal["blocks", "neck"]
"""What a ViT gives: the outputs of its global blocks, or the 256 channels of its neck."""

_PATCH = 16


@dataclass(frozen=True)
class _ViT:
    """Numbers of a ViT; ``window`` is that of all blocks but ``globals_``, ``unit`` means pixels in [0, 1]."""

    width: int
    blocks: int
    heads: int
    globals_: tuple[int, ...]
    window: int = 14
    neck: int = 256
    native_size: int = 1024
    weights: str = ""
    unit: bool = False


_VITS = {
    "sam_vit_b": _ViT(768, 12, 12, (2, 5, 8, 11), weights="sam-vit-b"),
    "sam_vit_l": _ViT(1024, 24, 16, (5, 11, 17, 23), weights="sam-vit-l"),
    "sam_vit_h": _ViT(1280, 32, 16, (7, 15, 23, 31), weights="sam-vit-h"),
    "medsam_vit_b": _ViT(768, 12, 12, (2, 5, 8, 11), weights="medsam-vit-b", unit=True),
    # For tests: SAM's layers at a size for a laptop. Nobody has trained it.
    "sam_tiny": _ViT(48, 4, 4, (1, 3), window=3, neck=32, native_size=128),
}


@dataclass(frozen=True)
class _Hiera:
    """Numbers of a Hiera, stage by stage: width and heads of the first, blocks, global blocks, windows, grid."""

    width: int
    heads: int
    blocks: tuple[int, ...]
    globals_: tuple[int, ...]
    windows: tuple[int, ...] = (8, 4, 14, 7)
    background: int = 7


_HIERAS = {
    "sam2_hiera_tiny": _Hiera(96, 1, (1, 2, 7, 2), (5, 7, 9)),
    "sam2_hiera_small": _Hiera(96, 1, (1, 2, 11, 2), (7, 10, 13)),
    "sam2_hiera_base_plus": _Hiera(112, 2, (2, 3, 16, 3), (12, 16, 20), background=14),
    "sam2_hiera_large": _Hiera(144, 2, (2, 6, 36, 4), (23, 33, 43), windows=(8, 4, 16, 8)),
}

NAMES = (*_VITS, *_HIERAS)


def sam(name: str, taps: Taps = "blocks") -> Backbone:
    """The image encoder called ``name``, one of :data:`NAMES`; ``taps`` is of no effect on Hiera."""
    return _vit(name, _VITS[name], taps) if name in _VITS else _hiera(name, _HIERAS[name])


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as problem:
        raise RecipeError(
            "SAM needs the package transformers; install Transmodal with its extra: pip install 'transmodal[sam]'"
        ) from problem
    return transformers


def _vit(name: str, numbers: _ViT, taps: Taps) -> Backbone:
    def build(size: int) -> nn.Module:
        library = _transformers()
        network = library.SamVisionModel(
            library.SamVisionConfig(
                hidden_size=numbers.width, num_hidden_layers=numbers.blocks, num_attention_heads=numbers.heads,
                global_attn_indexes=list(numbers.globals_), window_size=numbers.window, image_size=size,
                output_channels=numbers.neck, patch_size=_PATCH,
                # The library's own value, 1e-10, makes random networks whose features are dead.
                initializer_range=0.02,
            )
        ).vision_encoder  # fmt: skip
        for key, parameter in network.named_parameters():
            if key == "pos_embed" or "rel_pos" in key:
                nn.init.normal_(parameter, std=0.02)
        if taps == "blocks":
            network.neck = nn.Identity()
        return network

    def maps(network: Any, pixels: Tensor) -> list[Tensor]:
        x = network.patch_embed(pixels) + network.pos_embed
        found = []
        for number, layer in enumerate(network.layers):
            x = layer(x)
            if number in numbers.globals_:
                found.append(x.permute(0, 3, 1, 2))
        return found if taps == "blocks" else [network.neck(x)]

    def trim(network: Any, count: int) -> None:
        network.layers = network.layers[: numbers.globals_[count - 1] + 1]

    return Backbone(
        name=name,
        weights=numbers.weights,
        trim=trim,
        build=build,
        maps=maps,
        convert=partial(_convert_vit, numbers),
        channels=(numbers.width,) * len(numbers.globals_) if taps == "blocks" else (numbers.neck,),
        multiple=_PATCH,
        native_size=numbers.native_size,
        taps=taps,
        # MedSAM was trained on images in [0, 1] as they are.
        **({"mean": (0.0,) * 3, "sd": (1.0,) * 3} if numbers.unit else {}),
    )


_OFFICIAL = (
    (r"^neck\.0\.", "neck.conv1."),
    (r"^neck\.1\.", "neck.layer_norm1."),
    (r"^neck\.2\.", "neck.conv2."),
    (r"^neck\.3\.", "neck.layer_norm2."),
    (r"^patch_embed\.proj\.", "patch_embed.projection."),
    (r"^blocks\.(\d+)\.norm([12])\.", r"layers.\1.layer_norm\2."),
    (r"^blocks\.", "layers."),
)
"""The keys of SAM's own files → those of transformers."""


def _convert_vit(numbers: _ViT, state: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """The part of a checkpoint that is the image encoder, with its positions for this network's size."""
    own = _under(state, "image_encoder.")
    if own:
        for pattern, name in _OFFICIAL:
            own = {re.sub(pattern, name, key): value for key, value in own.items()}
    else:
        own = _under(state, "vision_encoder.")
    if "pos_embed" not in own:
        raise KeyError("image_encoder.pos_embed or vision_encoder.pos_embed")
    wanted = network.state_dict()
    for key, value in own.items():
        if key in wanted and value.shape != wanted[key].shape:
            own[key] = _resize_positions(numbers, key, value, wanted[key])
    return own


def _resize_positions(numbers: _ViT, key: str, value: Tensor, wanted: Tensor) -> Tensor:
    """The grid of absolute positions is resampled, and so are the tables of relative ones of global blocks.

    What does not fit comes back as it is, for whoever compares shapes to refuse: a table of a block with a window
    has the window's length at every size of the image.
    """
    if not value.is_floating_point():
        return value
    if key == "pos_embed" and value.ndim == 4:
        grid = value.permute(0, 3, 1, 2).float()
        size = tuple(wanted.shape[1:3])
        return functional.interpolate(grid, size, mode="bicubic", antialias=True).permute(0, 2, 3, 1)
    table = re.fullmatch(r"layers\.(\d+)\.attn\.rel_pos_[hw]", key)
    everywhere = table is not None and int(table[1]) in numbers.globals_
    if everywhere and value.ndim == 2 and len(value) and value.shape[1] == wanted.shape[1]:
        return functional.interpolate(value.float().T[None], len(wanted), mode="linear")[0].T
    return value


def _hiera(name: str, numbers: _Hiera) -> Backbone:
    def build(size: int) -> nn.Module:
        library = _transformers()
        from transformers.models.sam2.modeling_sam2 import Sam2HieraDetModel

        network = Sam2HieraDetModel(
            library.Sam2HieraDetConfig(
                hidden_size=numbers.width, num_attention_heads=numbers.heads, image_size=[size, size],
                blocks_per_stage=list(numbers.blocks), window_size_per_stage=list(numbers.windows),
                embed_dim_per_stage=[numbers.width * 2**s for s in range(4)],
                num_attention_heads_per_stage=[numbers.heads * 2**s for s in range(4)],
                global_attention_blocks=list(numbers.globals_),
                window_positional_embedding_background_size=[numbers.background] * 2,
            )
        )  # fmt: skip
        for parameter in (network.pos_embed, network.pos_embed_window):
            nn.init.normal_(parameter, std=0.02)
        return network

    def maps(network: Any, pixels: Tensor) -> list[Tensor]:
        x = network.patch_embed(pixels)
        x = x + network._get_pos_embed(x.shape[1:3])
        found = []
        for number, block in enumerate(network.blocks):
            x = block(x)
            if number in network.stage_ends:
                found.append(x.permute(0, 3, 1, 2))
        return found

    def trim(network: Any, count: int) -> None:
        network.blocks = network.blocks[: network.stage_ends[count - 1] + 1]

    def convert(state: dict[str, Tensor], _: nn.Module) -> dict[str, Tensor]:
        own = _under(state, "vision_encoder.backbone.")
        if not own:
            raise KeyError("vision_encoder.backbone")
        return own

    return Backbone(
        name=name,
        weights=name.replace("_", "-"),
        build=build,
        maps=maps,
        trim=trim,
        convert=convert,
        channels=tuple(numbers.width * 2**s for s in range(4)),
        multiple=32,
        native_size=1024,
        taps="stages",
    )


def _under(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
