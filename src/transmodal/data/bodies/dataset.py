"""Dataset: what every importer of a body writes: one case, its table, and a record of where it came from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transmodal import __version__
from transmodal.data.files import new_folder, write_json, write_text
from transmodal.data.modality import modality
from transmodal.data.volume import Volume, write_volume
from transmodal.errors import InputError, Refused

FORMAT = "transmodal.body/1"
MOST_CODE = 2**15 - 1
"""The largest code in a label map: prepared data hold 16 bits with a sign."""


@dataclass(frozen=True, eq=False)
class Body:
    """One body.

    Attributes:
        name: of its case.
        images: modality → volume; each on its own grid.
        mask: where the first of ``images`` is to count, on its grid.
        labels: on that grid, codes from 0 to ``MOST_CODE``, or None.
        credit: who has to be named wherever it is shown.
        record: what else must be known of it; goes to ``body.json``.
    """

    name: str
    images: dict[str, Volume]
    mask: Volume
    labels: Volume | None
    credit: str
    record: Mapping[str, Any] = field(default_factory=dict)


def check_out(out: Path, force: bool) -> None:
    """Refuse a place that holds something, before anything is read.

    Raises:
        InputError: it is a file.
        Refused: it is a folder with something in it, and ``force`` is False.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; give a folder for the dataset")
    if out.is_dir() and any(out.iterdir()) and (not force or not (out / "body.json").is_file()):
        what = "holds another body; add --force to replace it" if (out / "body.json").is_file() else "is not empty"
        raise Refused(f"{out}: {what}, or choose another --out")


def write_body(out: Path, body: Body) -> list[str]:
    """Write ``NAME/<modality>.nii.gz``, ``mask``, ``labels``, ``cases.tsv``, ``body.json``, whole or not at all.

    Returns:
        Lines that say what was written.
    """
    columns = [*body.images, "mask", *(["labels"] if body.labels is not None else [])]
    with new_folder(out) as folder:
        for name, image in body.images.items():
            file = folder / body.name / f"{name}.nii.gz"
            write_volume(image, file, dtype=modality(name).dtype, description=body.credit)
        write_volume(body.mask, folder / body.name / "mask.nii.gz", dtype="uint8")
        if body.labels is not None:
            write_volume(body.labels, folder / body.name / "labels.nii.gz", dtype="int16")
        cells = [body.name, *(f"{body.name}/{column}.nii.gz" for column in columns)]
        write_text(folder / "cases.tsv", "\t".join(["case", *columns]) + "\n" + "\t".join(cells) + "\n")
        write_json(folder / "body.json", {
            "format": FORMAT, "transmodal": __version__, "name": body.name, "credit": body.credit, **body.record,
        })  # fmt: skip
    return [f"{name}: {image.grid.describe()}" for name, image in body.images.items()]
