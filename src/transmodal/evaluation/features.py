"""Deep scores: VGG-19 from a file that is named, on declared slices; never with random weights."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from transmodal.evaluation.comparison import Comparison, Score
from transmodal.evaluation.table import Row
from transmodal.metrics.deep import fid, kid, lpips
from transmodal.nn.features import VGG19

TAPS = ("relu1_2", "relu2_2", "relu3_4", "relu4_4", "relu5_4")
"""The last layer of each block; the last of them, averaged over places, gives FID and KID their 512 features."""

SLICES = 16
"""Axial slices of each case, evenly spread over those with a voxel that counts."""

WORDS = f"features slices={SLICES} extractor=VGG-19/{'+'.join(TAPS)}"


def load_extractor(weights: Path) -> VGG19:
    """VGG-19 with the weights of a file (torchvision's ``vgg19-dcbb9e9d.pth``, or ``.safetensors`` of its layout).

    Raises:
        InputError: no such file, another digest, another layout.
    """
    network = VGG19(taps=TAPS, weights=str(weights))
    network.load_weights()
    return network


@dataclass(frozen=True, eq=False)
class Seen:
    """What the network saw of one case.

    Attributes:
        score: LPIPS, averaged over the slices.
        prediction: a row of features for each slice.
        reference: the same of the reference.
        origin: which weights the network has, with their digest.
    """

    score: Score
    prediction: Float[Tensor, "S D"]
    reference: Float[Tensor, "S D"]
    origin: str


@torch.no_grad()
def look(c: Comparison, extractor: VGG19) -> Seen:
    """Features and LPIPS of a case.

    Values are clipped to the physical window (else to the reference's own range in the voxels that count) and
    brought to [-1, 1]; what lies outside the mask is -1 in both.

    Raises:
        InputError: the reference has NaN, or no range of its own where it needs one.
    """
    size = c.range_in(c.mask)
    truth = c.reference if c.mask is None else c.reference[:, c.mask]
    low = c.kind.window[0] if c.kind.window is not None else float(truth.min())
    inside = torch.ones_like(c.reference[0], dtype=torch.bool) if c.mask is None else c.mask
    filled = torch.nonzero(inside.any(dim=0).any(dim=0)).flatten()
    chosen = filled[torch.linspace(0, len(filled) - 1, min(SLICES, len(filled))).round().long()]
    found = []
    for volume in (c.prediction, c.reference):
        values = ((volume - low) / size.size * 2 - 1).clamp(-1, 1)
        slices = torch.where(inside, values, -1.0)[..., chosen].movedim(3, 0)
        # One slice at a time: the first layers of a batch would need a gigabyte.
        taps = [extractor(image[None].float()) for image in slices]
        found.append([torch.cat(layer) for layer in zip(*taps, strict=True)])
    distance = float(lpips(found[0], found[1]).mean())
    region = "volume" if c.mask is None else "mask"
    said = size.words.removeprefix("range=")
    score = Score(region, "LPIPS (unlearned)", f"{WORDS} {size.words}", distance, "1", len(chosen), said)
    pooled = [layers[-1].mean(dim=(2, 3)) for layers in found]
    return Seen(score, pooled[0], pooled[1], extractor.origin)


def cohort_rows(seen: Sequence[Seen], method: str) -> Iterator[Row]:
    """FID and KID of all slices of all cases: one row each, whose case is ``(all)`` and whose n counts slices."""
    if not seen:
        return
    made, truth = (torch.cat([getattr(s, side) for s in seen]) for side in ("prediction", "reference"))
    for name, value in (("FID", fid(made, truth)), ("KID", kid(made, truth))):
        yield Row("(all)", method, seen[0].score.region, name, seen[0].score.convention, value, "1", len(made))
