"""Encoder: features of an image by one interface, whoever made them.

An encoder takes an image in [-1, 1] and gives maps of features, fine ones first, each with its stride: how many
voxels of the image lie between two of the map's. The map covers the square whose first corner is the image's and
whose edge is the image's longer one, so a map has to be cut after it is resampled, and never stretched.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from transmodal.errors import InputError
from transmodal.nn import pretrained
from transmodal.nn.convnd import conv, norm
from transmodal.nn.feature_cache import FeatureCache, Precision
from transmodal.nn.precision import full_precision
from transmodal.nn.tensor_file import check_tensor

PREPROCESSING = 1
"""Raised whenever an image reaches an encoder in another way, so that no cache outlives the change."""


class FeatureMap(NamedTuple):
    """A map of features.

    Attributes:
        values: (B, C, X, Y).
        stride: voxels of the image between two of the map.
    """

    values: Tensor
    stride: float


@runtime_checkable
class Encoder(Protocol):
    """What fusion needs to know of an encoder.

    Attributes:
        channels: of its maps, fine ones first.
        mean: taken off an image in [0, 1], per colour.
        sd: what is left is divided by it.
        native_size: edge of the images it was trained on, in voxels; None where any size is native.
        licence: of its weights.
        weights_digest: sha256 of the file they are from; empty for none.
    """

    channels: tuple[int, ...]
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    native_size: int | None
    licence: str
    weights_digest: str

    def __call__(self, image: Float[Tensor, "B C X Y"]) -> list[FeatureMap]:
        """The maps of an image in [-1, 1]."""
        ...


@dataclass(frozen=True)
class Backbone:
    """A published network: how to build and feed it, and what to take from it.

    Attributes:
        name: as recipes call it.
        weights: its name among :data:`transmodal.nn.pretrained.KNOWN`; empty where none are published.
        build: edge of the image → the network.
        maps: (network, pixels) → maps (B, C, X, Y).
        convert: (tensors of a file, the network) → its state; KeyError for a file of something else.
        channels: of the maps.
        multiple: edges of images are multiples of it.
        native_size: edge it was trained with.
        mean: taken off an image in [0, 1].
        sd: what is left is divided by it.
        taps: what is taken, for the key of a cache.
        trim: (network, number of maps) → the layers after the last of so many maps are gone.
    """

    name: str
    weights: str
    build: Callable[[int], nn.Module]
    maps: Callable[[nn.Module, Tensor], list[Tensor]]
    convert: Callable[[dict[str, Tensor], nn.Module], dict[str, Tensor]]
    channels: tuple[int, ...]
    multiple: int
    native_size: int
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    sd: tuple[float, ...] = (0.229, 0.224, 0.225)
    taps: str = ""
    trim: Callable[[nn.Module, int], None] = lambda network, maps: None


class PretrainedEncoder(nn.Module):
    """A network of others, in float32, one image at a time so that an answer does not depend on batch mates.

    Frozen, it stays in evaluation mode, and is in no optimiser, checkpoint or Model: its file is read again.

    Args:
        backbone: which network.
        size: edge of the images it is given, whatever the size of the slice; 0 for its native one.
        weights: path of the file; empty for the caches.
        sha256: the digest that the file must have; empty for the published one, where there is one.
        allow_random: go on with random weights (the same ones always) where there is no file.
        frozen: False lets it learn.
        keep: how features of images that come again are kept in training; None for not at all.
    """

    mean_: Tensor
    sd_: Tensor

    def __init__(
        self,
        backbone: Backbone,
        *,
        size: int = 0,
        weights: str = "",
        sha256: str = "",
        allow_random: bool = False,
        frozen: bool = True,
        keep: Precision | None = None,
    ) -> None:
        super().__init__()
        if keep and not frozen:
            raise ValueError(
                f"{backbone.name} learns, so that its features cannot be kept: set encoder_cache = 'none'"
            )
        self.backbone, self.frozen, self.keep = backbone, frozen, keep
        self.size = size or backbone.native_size
        if self.size < 0 or self.size % backbone.multiple:
            raise ValueError(
                f"encoder_size = {size}: {backbone.name} takes images whose edge is a multiple of "
                f"{backbone.multiple}; 0 is its native {backbone.native_size}"
            )
        self.file = pretrained.WeightsFile(backbone.weights, weights, sha256, allow_random, backbone.name)
        self.channels, self.native_size = backbone.channels, backbone.native_size
        self.mean, self.sd = backbone.mean, backbone.sd
        known = pretrained.KNOWN.get(backbone.weights)
        self.licence = known.licence if known else "no published weights"
        self.weights_digest = ""
        self.ready = allow_random
        self._random = f"{backbone.name} has RANDOM weights, as allow_random says: its features mean nothing"
        self.origin = self._random if allow_random else f"{backbone.name} has no weights yet"
        # The same random numbers on every machine and in every run, and those of other networks are not disturbed.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            self.network = backbone.build(self.size)
        self.register_buffer("mean_", torch.tensor(self.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("sd_", torch.tensor(self.sd).view(1, 3, 1, 1), persistent=False)
        self.cache: FeatureCache | None = None
        if frozen:
            self.requires_grad_(False)
            self.register_state_dict_post_hook(_leave_out)
            self.register_load_state_dict_pre_hook(_keep_own)
        else:
            self.register_load_state_dict_post_hook(_mark_ready)
        self.train(not frozen)

    def cut(self, maps: int) -> None:
        """Do without the maps after the first ``maps``, and without the layers that only those need."""
        if maps < len(self.channels):
            self.backbone.trim(self.network, maps)
            self.channels = self.channels[:maps]

    def train(self, mode: bool = True) -> "PretrainedEncoder":
        """Stays in evaluation mode while it is frozen."""
        return super().train(mode and not self.frozen)

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
            self.origin = pretrained.drawn(self._random, self.network)
            return
        path, state, digest = stored
        wanted = self.network.state_dict()
        try:
            found = self.backbone.convert(state, self.network)
        except KeyError as problem:
            raise InputError(
                f"{path}: has no {problem.args[0]}; these are not the weights of {self.backbone.name}"
            ) from problem
        for key, tensor in wanted.items():
            check_tensor(path, key, found.get(key), tensor.shape, self.backbone.name)
        self.network.load_state_dict({key: found[key] for key in wanted})
        self.weights_digest, self.ready = digest, True
        self.origin = f"{self.backbone.name}: {path.name}, sha256 {digest}"

    def remember(self, folder: Path) -> FeatureCache | None:
        """Keep features from now on, if that is wanted, in files below ``folder``; on the present device.

        Raises:
            InputError: the weights have not been read.
        """
        if self.keep is None:
            return None
        self._check_ready()
        import transformers

        with torch.no_grad():
            edge = self.size
            probe = next(self.network.parameters()).new_zeros(1, 3, edge, edge)
            shapes = [tuple(m.shape[1:]) for m in self.backbone.maps(self.network, probe)]
        about: dict[str, Any] = {
            "encoder": self.backbone.name,
            "weights": self.weights_digest or pretrained.drawn("random", self.network),
            "size": self.size,
            "taps": self.backbone.taps,
            "preprocessing": PREPROCESSING,
            "device": _kind(probe.device),
            "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        }
        self.cache = FeatureCache(folder, about, shapes, self.keep)
        return self.cache

    def forward(self, image: Float[Tensor, "B C X Y"]) -> list[FeatureMap]:
        """The maps of an image in [-1, 1]. One channel is grey, three are colours; of others the mean is seen.

        Raises:
            InputError: the weights have not been read.
        """
        # Networks are measured on the meta device, without weights.
        if not image.is_meta:
            self._check_ready()
        image = image.detach() if self.frozen else image
        with torch.no_grad() if self.frozen else nullcontext(), full_precision(image):
            samples = [sample.float().contiguous() for sample in image.split(1)]
            if self.cache is None:
                answers = [self._look(sample) for sample in samples]
            else:
                answers = [self.cache.recall(sample, self._look) for sample in samples]
            # One layout in memory, so that what follows rounds alike for features that were read and computed.
            maps = [torch.cat(tap).contiguous() for tap in zip(*answers, strict=True)]
        side = max(image.shape[2:])
        return [FeatureMap(values, side / values.shape[-1]) for values in maps]

    def _check_ready(self) -> None:
        if not self.ready:
            raise InputError(f"{self.backbone.name} has no weights yet; call load_weights() before it is used")

    def _look(self, image: Float[Tensor, "1 C X Y"]) -> list[Tensor]:
        return self.backbone.maps(self.network, self.pixels(image))

    def pixels(self, image: Float[Tensor, "B C X Y"]) -> Float[Tensor, "B 3 S S"]:
        """What the network gets: three colours, made square with empty space, resampled and normalised."""
        if image.shape[1] not in (1, 3):
            image = image.mean(dim=1, keepdim=True)
        rows, columns = image.shape[2:]
        side = max(rows, columns)
        x = functional.pad(image.expand(-1, 3, -1, -1), (0, side - columns, 0, side - rows), value=-1.0)
        smaller = self.size < side
        x = functional.interpolate(x, (self.size, self.size), mode="bilinear", antialias=smaller)
        return ((x + 1) / 2 - self.mean_) / self.sd_


class ConvPyramid(nn.Module):
    """A control that is trained with the rest: four strided convolutions, with strides 2, 4, 8 and 16.

    Args:
        cin: channels of the image.
        width: channels of the first map; doubled from map to map.
    """

    mean, sd = (0.5,), (0.5,)
    native_size: int | None = None
    licence = "Apache-2.0 (Transmodal); trained here"
    weights_digest = ""

    def __init__(self, cin: int, width: int = 32) -> None:
        super().__init__()
        self.channels = tuple(width * 2**level for level in range(4))
        self.stages = nn.ModuleList()
        for before, after in zip((cin, *self.channels[:-1]), self.channels, strict=True):
            layer = conv(2, before, after, 4, stride=2, padding=1, bias=False)
            self.stages.append(nn.Sequential(layer, norm(2, "instance", after, affine=True), nn.LeakyReLU(0.2)))

    def cut(self, maps: int) -> None:
        """Do without the maps after the first ``maps``, which nobody looks at and which could not learn."""
        self.stages, self.channels = self.stages[:maps], self.channels[:maps]

    def forward(self, image: Float[Tensor, "B C X Y"]) -> list[FeatureMap]:
        """The maps of an image in [-1, 1], whose edges are multiples of 16."""
        found, x = [], image
        for level, stage in enumerate(self.stages, start=1):
            x = stage(x)
            found.append(FeatureMap(x, float(2**level)))
        return found


def _kind(device: torch.device) -> str:
    """What kind of device it is: others round differently."""
    if device.type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}"
    return f"cpu: {torch.backends.cpu.get_cpu_capability()}" if device.type == "cpu" else device.type


def tap_of(stage: int, maps: Sequence[object], stages: int) -> int:
    """Which map is fused at a stage: shallow ones at fine stages, deep ones at coarse stages.

    With as many maps as stages below the first, each has its own; stage 0 shares the first map with stage 1.
    """
    return max(0, -(-stage * len(maps) // stages) - 1)


def _leave_out(module: PretrainedEncoder, state: dict[str, Any], prefix: str, _: Any) -> None:
    for key in [key for key in state if key.startswith(prefix)]:
        del state[key]


def _keep_own(module: PretrainedEncoder, state: dict[str, Any], prefix: str, *_: Any) -> None:
    state.update({f"{prefix}network.{key}": value for key, value in module.network.state_dict().items()})


def _mark_ready(module: PretrainedEncoder, _: Any) -> None:
    module.ready = True
