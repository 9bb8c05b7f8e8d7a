"""Finding: one thing that is wrong with a dataset, where, and what to do."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["error", "warning"]

KINDS: dict[str, str] = {
    "dataset": "the layout or the table contradicts itself",
    "unreadable": "a file cannot be used at all: truncated, no volume, NaN, empty",
    "constant": "one value everywhere",
    "clipped": "many voxels at the largest value",
    "quantised": "no more different values than 8 bits hold",
    "units": "values that the modality cannot have",
    "geometry": "a header that does not say where its voxels lie",
    "grid": "images of a case on different grids, orientations or spacings",
    "field of view": "images of a case that share too little of space",
    "misaligned": "an image lies beside the others of its case",
    "flip": "an image seems mirrored, left for right",
    "duplicate": "the same scan under two names",
    "outlier": "intensities unlike those of the other cases",
}
"""Kind → what it means."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        kind: one of :data:`KINDS`.
        severity: an ``error`` must be repaired before training, a ``warning`` be looked at.
        case: name, or empty for the whole dataset.
        modality: of the image concerned, or empty.
        message: what is wrong and what to do.
        value: the number behind it, if there is one.
        picture: PNG that shows it, if one does.
    """

    kind: str
    severity: Severity
    case: str
    modality: str
    message: str
    value: float | None = None
    picture: bytes = b""

    def to_dict(self) -> dict[str, Any]:
        """For JSON; without the picture."""
        return {key: value for key, value in asdict(self).items() if key != "picture"}
