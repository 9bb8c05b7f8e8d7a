"""NIfTI files and what nibabel reads beside them, opened without belief in what their headers promise.

nibabel reads a header extension as long as it says it is and skips to the voxels wherever they are said to lie,
unpacking gzip on the way; both are looked at here first.
"""

import gzip
import struct
from pathlib import Path
from typing import Any

import nibabel as nib
from nibabel.filebasedimages import ImageFileError

from transmodal.data.limits import MOST_HEADER, check_plain, check_values
from transmodal.errors import InputError

NIFTI = (".nii", ".nii.gz")
_ALSO = (".mgz", ".mgh", ".hdr", ".img")
"""FreeSurfer's volumes and pairs of header and image: not promised anywhere, and taken all the same."""
_ONE, _TWO = 348, 540
_OFFSET = {_ONE: (108, "f"), _TWO: (168, "q")}
"""Bytes of the header, which say the version → where it says how far the voxels are, and as what."""


def open_nifti(path: Path) -> Any:
    """A nibabel image whose values are not read yet.

    Raises:
        InputError: a header that promises more than there can be.
        ImageFileError: of another format. Also all that nibabel raises.
    """
    name = path.name.lower()
    if name.endswith(NIFTI):
        image: Any = _kind(path).from_filename(path)
    elif name.endswith(_ALSO):
        for beside in filter(Path.exists, (path.with_suffix(".hdr"), path.with_suffix(".img"))):
            check_plain(beside)
        image = nib.load(path)
    else:
        raise ImageFileError(f"{path.suffix or 'no suffix'} is none of {', '.join(NIFTI)}")
    if 0 not in image.shape:
        check_values(image.shape, path)
    return image


def _kind(path: Path) -> Any:
    with gzip.open(path) if path.name.lower().endswith(".gz") else open(path, "rb") as file:
        head = file.read(_TWO)
        for order in "<>":
            size = struct.unpack_from(f"{order}i", head)[0] if len(head) >= 4 else 0
            if size in _OFFSET and len(head) >= size:
                _check_extensions(path, file, head, order, size)
                return nib.Nifti1Image if size == _ONE else nib.Nifti2Image
    raise ImageFileError("it does not begin like one")


def _check_extensions(path: Path, file: Any, head: bytes, order: str, size: int) -> None:
    place, kind = _OFFSET[size]
    start = struct.unpack_from(f"{order}{kind}", head, place)[0]
    if not 0 <= start <= MOST_HEADER:
        raise InputError(f"{path}: its voxels are said to begin at byte {start:g}; the header is damaged")
    file.seek(0)
    content = file.read(int(start))
    at = size + 4
    while content[size : size + 1] > b"\0" and at + 16 <= len(content):
        length = struct.unpack_from(f"{order}i", content, at)[0]
        if not 16 <= length <= len(content) - at:
            raise InputError(f"{path}: a header extension of {length} bytes; the header is damaged")
        at += length
