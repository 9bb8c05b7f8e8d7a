"""A segmentation network, and the same one frozen, as a judge of what another network has painted.

References:
    U-Net: Convolutional Networks for Biomedical Image Segmentation (Ronneberger, Fischer, Brox, 2015).
    https://arxiv.org/abs/1505.04597
"""

import hashlib
from itertools import pairwise
from pathlib import Path

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn import functional

from transmodal.data.files import read_json
from transmodal.data.limits import MOST_PARAMETERS, read_whole
from transmodal.errors import InputError
from transmodal.nn.convnd import conv

PUBLISHED = tuple(range(47))
"""The table of a network of 47 classes: the default of methods with one, and of a Model that names none."""
_RANDOM = "the segmenter has RANDOM weights, as allow_random says: what it names means nothing"
_ALONG = "the segmenter starts from new weights and is trained along"


class Classes(nn.Module):
    """The table of codes in label maps → classes 0, 1, 2 … of a network. A code that is not in it is an error.

    Args:
        labels: the code of every class, in the order of the classes.
    """

    codes: Tensor
    order: Tensor

    def __init__(self, labels: tuple[int, ...]) -> None:
        super().__init__()
        if len(set(labels)) < max(2, len(labels)):
            raise ValueError(f"labels = {list(labels)}: give at least two codes of label maps, each once")
        codes, order = torch.tensor(labels, device="cpu").sort()
        self.labels = labels
        self.register_buffer("codes", codes, persistent=False)
        self.register_buffer("order", order, persistent=False)

    def forward(self, labels: Int[Tensor, "B 1 *N"]) -> Int[Tensor, "B *N"]:
        """The class of every voxel, as int64.

        Raises:
            InputError: a code that is not in the table.
        """
        found = labels[:, 0].long().contiguous()
        place = torch.searchsorted(self.codes, found).clamp(max=len(self.codes) - 1)
        known = self.codes[place] == found
        if not bool(known.all()):
            strange = sorted({int(code) for code in found[~known].unique()})
            raise InputError(
                f"a label map holds {', '.join(str(code) for code in strange[:8])}, and method.labels does not: "
                "add what is missing there, or correct the label map"
            )
        return self.order[place]


class LabelUNet(nn.Module):
    """The plain U-Net with batch normalisation, from an image to one score for each class.

    Twice (convolution 3 wide, norm, ReLU) at every size, maxima of 2 × 2 on the way down, transposed convolutions
    2 wide on the way up, and skip connections. Where a size could not be halved evenly, zeros fill up the
    difference.

    Args:
        cin: channels in.
        classes: scores out.
        width: channels at full size; doubled by each step down.
        depth: how often the grid is halved.
    """

    def __init__(self, cin: int, classes: int, width: int = 64, depth: int = 4) -> None:
        super().__init__()
        if depth < 1:
            raise ValueError(f"a U-Net of depth {depth} does not go down at all; give at least 1")
        widths = [width * 2**i for i in range(depth + 1)]
        steps = list(pairwise(widths))
        self.stem = _twice(cin, width)
        self.down = nn.ModuleList([_twice(before, after) for before, after in steps])
        self.up = nn.ModuleList(
            [nn.ConvTranspose2d(after, before, 2, stride=2) for before, after in reversed(steps)]
        )
        self.merge = nn.ModuleList([_twice(after, before) for before, after in reversed(steps)])
        self.head = conv(2, width, classes, 1)

    def forward(self, image: Float[Tensor, "B Cin X Y"]) -> Float[Tensor, "B K X Y"]:
        """Scores (logits) of every class."""
        x = self.stem(image)
        skips = []
        for down in self.down:
            skips.append(x)
            x = down(functional.max_pool2d(x, 2))
        for up, merge in zip(self.up, self.merge, strict=True):
            skip, x = skips.pop(), up(x)
            rows, columns = (there - here for there, here in zip(skip.shape[2:], x.shape[2:], strict=True))
            x = functional.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
            x = merge(torch.cat([skip, x], dim=1))
        scores: Tensor = self.head(x)
        return scores


def _twice(cin: int, cout: int) -> nn.Sequential:
    layers = nn.Sequential()
    for before in (cin, cout):
        layers.append(conv(2, before, cout, 3, padding=1, bias=False))
        layers.append(nn.BatchNorm2d(cout))
        layers.append(nn.ReLU())
    return layers


class Segmenter(nn.Module):
    """A :class:`LabelUNet` that somebody has trained before: the method ``segmentation`` left it in a Model.

    It is frozen, and its norms take their running averages, unless ``trained``. It keeps the protocol of
    :class:`transmodal.nn.pretrained.Pretrained`; checkpoints hold its weights, Models do not.

    Args:
        cin: channels of the images.
        labels: codes of label maps, in the order of the classes; the Model must have the same.
        width: of the U-Net.
        weights: the folder of the Model, or of its run.
        allow_random: go on with random weights where ``weights`` is empty.
        trained: whether it is trained along, from the Model's weights or from new ones.
    """

    def __init__(
        self,
        cin: int,
        labels: tuple[int, ...],
        width: int = 64,
        weights: str = "",
        allow_random: bool = False,
        trained: bool = False,
    ) -> None:
        super().__init__()
        self.path, self.allow_random, self.trained = weights, allow_random, trained
        self.classes = Classes(labels)
        self.network = LabelUNet(cin, len(labels), width)
        self.origin = _ALONG if trained else _RANDOM if allow_random else "the segmenter has no weights yet"
        self.ready = trained or allow_random
        if not trained:
            self.requires_grad_(False)
            self.eval()

    def train(self, mode: bool = True) -> "Segmenter":
        """Stays in evaluation mode where it is frozen."""
        return super().train(mode and self.trained)

    def find_weights(self) -> Path | None:
        """The folder of the Model; None where there is none and random weights will do.

        Raises:
            InputError: there is none.
        """
        if not self.path:
            if self.ready:
                return None
            raise InputError(
                "method.segmenter is not set: train the method 'segmentation' on the same labels and give the "
                "folder of its run, or set method.segmentation_weight = 0"
            )
        for folder in (Path(self.path), Path(self.path) / "model"):
            if (folder / "model.json").is_file():
                return folder
        raise InputError(f"{self.path}: holds no model.json; method.segmenter is the run of a 'segmentation'")

    def load_weights(self) -> None:
        """Read the weights.

        Raises:
            InputError: no Model of the method ``segmentation``, other labels, or other layers.
        """
        folder = self.find_weights()
        if folder is None:
            return
        facts = read_json(folder / "model.json")
        if not isinstance(facts, dict) or facts.get("method") != "segmentation":
            raise InputError(
                f"{folder}: is not a Model of the method 'segmentation'; give one as method.segmenter"
            )
        arguments, digest_said = facts.get("arguments"), facts.get("sha256")
        named = arguments if isinstance(arguments, dict) else {}
        stored = named.get("labels", list(PUBLISHED))
        if stored != list(self.classes.labels):
            raise InputError(
                f"{folder}: was trained on labels = {stored}, and method.labels = {list(self.classes.labels)}; "
                "make them the same"
            )
        content = read_whole(folder / "weights.safetensors", 8 * MOST_PARAMETERS)
        digest = hashlib.sha256(content).hexdigest()
        if digest != digest_said:
            raise InputError(f"{folder}: its weights do not match the sha256 in model.json; copy the folder again")
        try:
            state = load(content)
            self.network.load_state_dict(
                {key[8:]: value for key, value in state.items() if key.startswith("network.")}
            )
        except (SafetensorError, RuntimeError) as problem:
            reason = " ".join(str(problem).split())[:200]
            raise InputError(
                f"{folder}: does not fit a U-Net of this width with {len(self.classes.labels)} classes ({reason})"
            ) from problem
        self.ready = True
        self.origin = f"segmenter of {len(self.classes.labels)} classes, sha256 {digest}"

    def forward(self, image: Float[Tensor, "B C X Y"]) -> Float[Tensor, "B K X Y"]:
        """Scores of every class for an image in [0, 1].

        Raises:
            InputError: the weights have not been read.
        """
        if not self.ready:
            raise InputError("the segmenter has no weights yet; call load_weights() before it is used")
        scores: Tensor = self.network(image)
        return scores

    def cross_entropy(self, image: Float[Tensor, "B C X Y"], labels: Int[Tensor, "B 1 X Y"]) -> Float[Tensor, ""]:
        """Mean over voxels of -log of the probability of the labelled class, in float32."""
        return functional.cross_entropy(self(image).float(), self.classes(labels))
