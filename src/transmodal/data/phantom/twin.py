"""Twin: a phantom subject of a prepared dataset that can be scanned again, with lesions that it did not have."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from transmodal.data.files import read_json
from transmodal.data.phantom.anatomy import Anatomy, random_anatomy
from transmodal.data.phantom.cohort import PhantomSettings
from transmodal.data.phantom.fields import Field
from transmodal.data.phantom.physics import simulate, stored_as
from transmodal.data.phantom.tissues import CODE
from transmodal.data.prepared import PreparedCase
from transmodal.data.volume import Volume
from transmodal.shapes import Mask


@dataclass(frozen=True, eq=False)
class Twin:
    """Everything that made the scans of a phantom subject.

    Attributes:
        anatomy: the head.
        seed: of its scans.
        noise: as it was.
        bias: as it was.
    """

    anatomy: Anatomy
    seed: int
    noise: float
    bias: float

    @property
    def white(self) -> Mask:
        """White matter."""
        return self.anatomy.labels == CODE["white"]

    def scan(self, contrast: str, implant: Field | None = None) -> Float32[np.ndarray, "C X Y Z"]:
        """The very scan that was written, or the same (noise, field and all) with lesions."""
        head = self.anatomy if implant is None else self.anatomy.with_implant(implant)
        made = simulate(head, contrast, seed=self.seed, noise=self.noise, bias=self.bias)
        return _as_stored(made, contrast)


def find_twin(case: PreparedCase, contrasts: Sequence[str]) -> Twin | None:
    """The twin of a prepared case; None if it is no phantom, or was changed on the way.

    Scans that were moved, resampled or filtered are not those that can be made again: whether they are is found
    out by making them.

    Args:
        case: prepared.
        contrasts: of the scans that must be equal.
    """
    inputs = {Path(case.record["modalities"][name]["input"]).parent for name in contrasts}
    folder = next(iter(inputs)) if len(inputs) == 1 else None
    if folder is None or not (folder.parent / "phantom.json").is_file():
        return None
    settings, truth = read_json(folder.parent / "phantom.json"), read_json(folder.parent / "truth.json")
    known = {field.name for field in fields(PhantomSettings)}
    if folder.name not in truth or not {"size", "spacing", "noise", "bias"} <= known & set(settings):
        return None
    own = truth[folder.name]
    size = settings["size"]
    if tuple(size) != case.grid.shape:
        return None
    x, y, z = size
    anatomy = random_anatomy((x, y, z), settings["spacing"], seed=own["seed"], lesions=own["lesions"])
    twin = Twin(anatomy, own["seed"], settings["noise"], settings["bias"])
    same = all(np.allclose(twin.scan(name), case.values(name), atol=1e-4) for name in contrasts)
    return twin if same else None


def _as_stored(made: Volume, contrast: str) -> Float32[np.ndarray, "C X Y Z"]:
    if stored_as(contrast) == "int16":
        return np.round(made.data).astype(np.float32)
    return made.data.astype(np.float32)
