"""Features of frozen networks, for perceptual losses.

References:
    Very Deep Convolutional Networks for Large-Scale Image Recognition (Simonyan and Zisserman, 2015), table 1,
    column E: VGG-19. https://arxiv.org/abs/1409.1556
    Arbitrary Style Transfer in Real-time with AdaIN (Huang and Belongie, 2017) uses normalised weights: every
    channel of every layer has mean 1 over ImageNet. https://arxiv.org/abs/1703.06868
"""

import math
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from transmodal.errors import InputError
from transmodal.nn import pretrained
from transmodal.nn.precision import full_precision
from transmodal.nn.tensor_file import check_tensor

Variant = Literal["torchvision", "normalised"]
Input = Literal["imagenet", "unit", "raw"]
"""What a network gets of an image in [-1, 1]: ImageNet's mean and sd taken off, [0, 1], or as it is."""

_WIDTHS = ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4)
LAYERS = tuple(f"{b}_{i}" for b, block in enumerate(_WIDTHS, 1) for i in range(1, len(block) + 1))
"""The sixteen convolutions, as they are usually called: block, underscore, number."""

_PLACES: dict[Variant, tuple[str, tuple[int, ...]]] = {
    "torchvision": ("features.", (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)),
    "normalised": ("", (2, 5, 9, 12, 16, 19, 22, 25, 29, 32, 35, 38, 42, 45, 48, 51)),
}
"""Where the convolutions stand in the published files."""

_FILES: dict[Variant, str] = {"torchvision": "vgg19", "normalised": "vgg19-normalised"}
_RANDOM = "VGG-19 has RANDOM weights, as allow_random says: its features mean nothing"
_MEAN, _SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class VGG19(nn.Module):
    """The convolutions of VGG-19 up to the last tap: frozen, in evaluation mode, in float32.

    Its weights are in no checkpoint and in no Model: they are read from their file again.

    Args:
        variant: whose weights. ``torchvision`` pads with zeros; ``normalised`` mirrors, and begins with a change
            of colours.
        taps: what is given back: ``relu3_1`` is the first convolution of the third block after its ReLU,
            ``conv3_1`` the same before it.
        given: what the network gets of an image in [-1, 1].
        weights: path of the file; empty for the cache of ``transmodal download``.
        sha256: the digest that the file must have; empty for the published one, where there is one.
        allow_random: go on with random weights (the same ones always) where there is no file.
    """

    mean: Tensor
    sd: Tensor

    def __init__(
        self,
        *,
        variant: Variant = "torchvision",
        taps: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"),
        given: Input = "imagenet",
        weights: str = "",
        sha256: str = "",
        allow_random: bool = False,
    ) -> None:
        super().__init__()
        wrong = [tap for tap in taps if tap[:4] not in ("relu", "conv") or tap[4:] not in LAYERS]
        if wrong or not taps:
            raise ValueError(f"taps = {list(taps)}: name layers such as 'relu3_1' or 'conv3_1'")
        self.variant, self.taps, self.given = variant, taps, given
        self.file = pretrained.WeightsFile(_FILES[variant], weights, sha256, allow_random, "VGG-19")
        self.origin = _RANDOM if allow_random else "VGG-19 has no weights yet"
        self.ready = allow_random
        self.layers = LAYERS[: 1 + max(LAYERS.index(tap[4:]) for tap in taps)]
        widths = [3, *(width for block in _WIDTHS for width in block)]
        shapes = {"0_1": (3, 3, 1)} if variant == "normalised" else {}
        shapes |= {name: (widths[i + 1], widths[i], 3) for i, name in enumerate(self.layers)}
        # The same random numbers on every machine and in every run: they are not saved either.
        generator = torch.Generator().manual_seed(0)
        for name, (cout, cin, kernel) in shapes.items():
            weight, bias = torch.empty(cout, cin, kernel, kernel), torch.zeros(cout)
            if not weight.is_meta:
                drawn = torch.randn(weight.shape, generator=generator, device="cpu")
                weight = drawn.to(weight.device) * math.sqrt(2 / (cin * kernel**2))
            self.register_parameter(f"weight{name}", nn.Parameter(weight, requires_grad=False))
            self.register_parameter(f"bias{name}", nn.Parameter(bias, requires_grad=False))
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("sd", torch.tensor(_SD).view(1, 3, 1, 1), persistent=False)
        self.eval()

    def train(self, mode: bool = True) -> "VGG19":
        """Stays as it is: frozen."""
        return super().train(False)

    def find_weights(self) -> Path | None:
        """The file; None where there is none and random weights will do.

        Raises:
            InputError: there is none.
        """
        return self.file.find()

    def load_weights(self) -> None:
        """Read the weights.

        Raises:
            InputError: no file, another digest, another layout.
        """
        stored = self.file.read()
        if stored is None:
            self.origin = pretrained.drawn(_RANDOM, self)
            return
        path, state, digest = stored
        prefix, places = _PLACES[self.variant]
        place = dict(zip(LAYERS, places, strict=True)) | {"0_1": 0}
        for name, parameter in self.named_parameters():
            kind, layer = name[:-3], name[-3:]
            key = f"{prefix}{place[layer]}.{kind}"
            of = f"VGG-19 ({self.variant})"
            parameter.data.copy_(check_tensor(path, key, state.get(key), parameter.shape, of))
        self.ready = True
        self.origin = f"VGG-19 ({self.variant}): {path.name}, sha256 {digest}"

    def forward(self, image: Float[Tensor, "B C X Y"]) -> list[Tensor]:
        """The taps, in order of depth.

        Args:
            image: in [-1, 1]; grey (one channel) or colour (three).

        Raises:
            InputError: the weights have not been read.
        """
        if not self.ready:
            raise InputError("VGG-19 has no weights yet; call load_weights() before it is used")
        with full_precision(image):
            x = image.float().expand(-1, 3, -1, -1)
            if self.given != "raw":
                x = (x + 1) / 2
            if self.given == "imagenet":
                x = (x - self.mean) / self.sd
            return self._taps(x)

    def _taps(self, x: Tensor) -> list[Tensor]:
        found = []
        mirror = self.variant == "normalised"
        if mirror:
            x = functional.conv2d(x, self.get_parameter("weight0_1"), self.get_parameter("bias0_1"))
        for name in self.layers:
            if name.endswith("_1") and name != "1_1":
                x = functional.max_pool2d(x, 2, ceil_mode=mirror)
            x = functional.pad(x, (1, 1, 1, 1), mode="reflect" if mirror else "constant")
            x = functional.conv2d(x, self.get_parameter(f"weight{name}"), self.get_parameter(f"bias{name}"))
            if f"conv{name}" in self.taps:
                found.append(x)
            x = functional.relu(x)
            if f"relu{name}" in self.taps:
                found.append(x)
        return found

    def _save_to_state_dict(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the file is the only source of these weights."""

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        """Nothing, and nothing is missing."""
