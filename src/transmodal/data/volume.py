"""Volume: values and the grid they lie on; reading them, and writing NIfTI.

Reading checks everything that later code relies on (three axes, finite, not empty) and says so in a sentence.
Writing is atomic: a temporary name, fsync, rename. Values are float32 in their own units; colour has 3 channels.
"""

import gzip
import os
import struct
import zlib
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from jaxtyping import Float32, Shaped
from nibabel.filebasedimages import ImageFileError
from nibabel.orientations import apply_orientation, io_orientation

from transmodal.data.files import part
from transmodal.data.formats import ITK, detached, is_dicom, read_dicom, read_itk, says_where
from transmodal.data.grid import Grid
from transmodal.data.limits import check_values
from transmodal.data.nifti import open_nifti
from transmodal.data.stacks import NUMPY, is_stack, read_stack, sidecar
from transmodal.errors import InputError
from transmodal.progress import warn
from transmodal.shapes import Mask, Voxels

SUFFIXES = (".nii.gz", ".nii")
"""What is written; also read are :data:`~.formats.ITK`, ``.npy``, and folders of DICOM files or PNG slices."""
READABLE = (*SUFFIXES, *ITK, NUMPY)
UNLOCATED = (
    "its header does not say where the voxels lie (in NIfTI: qform and sform codes are 0), so left and right are "
    "a guess; repair it, or convert the scan again"
)
_COLOURED = (
    "{}: is in colour, and a mask or label map holds one whole number in each voxel; save codes, not colours"
)
_QUICK = 1
"""Of gzip: larger levels take many times as long for files that are hardly smaller."""
_LABELS = np.iinfo(np.int32)
_RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
_GEOMETRY = ("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y",
             "qoffset_z", "srow_x", "srow_y", "srow_z", "xyzt_units", "dim_info")  # fmt: skip


@dataclass(frozen=True)
class Volume:
    """A volume: values on a grid.

    Attributes:
        data: values, channels first.
        grid: where the voxels lie.
        name: where it came from, for messages.
    """

    data: Voxels
    grid: Grid
    name: str = "volume"

    def __post_init__(self) -> None:
        if self.data.shape[1:] != self.grid.shape:
            raise ValueError(f"{self.name}: values of shape {self.data.shape} on a grid of {self.grid.shape}")

    @property
    def affine(self) -> np.ndarray:
        """Voxel index → millimetres, RAS+."""
        return self.grid.affine

    def grey(self) -> Float32[np.ndarray, "X Y Z"]:
        """The mean of its channels."""
        one = self.data[0] if len(self.data) == 1 else self.data.mean(axis=0, dtype=np.float32)
        return one.astype(np.float32, copy=False)

    def at(self, mask: Mask) -> Shaped[np.ndarray, " N"]:
        """The values of every channel where a mask is."""
        # Channel by channel: selecting along all but the first axis takes numpy ten times as long.
        return np.concatenate([channel[mask] for channel in self.data])

    def canonical(self) -> "Volume":
        """The same voxels with axes turned to RAS+ (permuted and flipped, never resampled)."""
        turns = io_orientation(self.affine)
        data = np.stack([apply_orientation(channel, turns) for channel in self.data])
        return Volume(data, self.grid.canonical(), self.name)


def is_series(folder: Path) -> bool:
    """Whether a folder is one volume: DICOM files or PNG slices."""
    return is_dicom(folder) or is_stack(folder)


def made_of(path: Path) -> list[Path]:
    """Every file that decides what a volume is: itself or its slices, its sidecar, its detached values."""
    own = sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
    stacked = path.name.lower().endswith(NUMPY) or is_stack(path)
    beside = sidecar(path) if stacked else None
    return [*own, *detached(path), *([beside] if beside is not None and beside not in own else [])]


def stem(path: Path) -> str:
    """File name without ``.nii.gz`` and the like."""
    for suffix in READABLE:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.stem


def read_volume(path: Path | str, *, label: bool = False) -> Volume:
    """Read a volume whole.

    Args:
        path: a ``.nii`` or ``.nii.gz`` file with three axes, or four of which the last is 1 long; an NRRD or
            MetaImage file; an ``.npy`` array or a folder of PNG slices (:mod:`.stacks`); or a folder with one
            DICOM series.
        label: keep integers (a mask or a label map) and allow a constant volume.

    Raises:
        InputError: missing, unreadable, truncated, not a volume, not 3D, empty, NaN or infinite, or all zero.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: there is no such file; check the path")
    if not path.is_dir() and not path.is_file():
        raise InputError(f"{path}: is neither a file nor a folder; give an image")
    if path.is_dir() and is_stack(path):
        return _volume(*read_stack(path, label=label), None, str(path), label)
    if path.is_dir():
        return _volume(*read_dicom(path), None, str(path), label)
    if path.name.lower().endswith(NUMPY):
        return _volume(*read_stack(path, label=label), None, str(path), label)
    if path.name.lower().endswith(ITK):
        volume = _volume(*read_itk(path), None, str(path), label)
        if not says_where(path):
            volume = replace(volume, grid=replace(volume.grid, located=False))
        return _warned(volume, label)
    try:
        return _warned(from_image(open_nifti(path), str(path), label=label), label)
    except MemoryError as problem:
        raise InputError(
            f"{path}: is larger than the memory that is left; close something, or resample it"
        ) from problem
    except (
        ImageFileError,
        OSError,
        EOFError,
        zlib.error,
        struct.error,
        ValueError,
        ArithmeticError,
        LookupError,
        TypeError,
        nib.spatialimages.HeaderDataError,
    ) as problem:
        if isinstance(problem, PermissionError):
            raise InputError(f"{path}: no permission to read it; change its mode or owner") from problem
        reason = " ".join(str(problem).split())[:160] or type(problem).__name__
        raise InputError(
            f"{path}: cannot be read as NIfTI ({reason}); it may be truncated or of another format: "
            "copy it again, or convert it to .nii.gz"
        ) from problem


def _warned(volume: Volume, label: bool) -> Volume:
    if not volume.grid.is_located and not label:
        warn(f"{volume.name}: {UNLOCATED}")
    return volume


def from_image(image: Any, name: str = "image", *, label: bool = False) -> Volume:
    """A Volume from a nibabel image, with the checks of :func:`read_volume`."""
    shape = image.shape
    if 0 in shape:
        raise InputError(f"{name}: has no voxels (shape {shape}); export it again")
    if len(shape) == 4 and shape[3] == 1:
        shape = shape[:3]
    if len(shape) != 3:
        what = "pick one volume of the series" if len(shape) > 3 else "stack the slices to a volume"
        raise InputError(f"{name}: has {len(shape)} axes {shape} where a 3D volume is needed; {what}")
    check_values(shape, name)
    kind = image.get_data_dtype()
    if label and kind == _RGB:
        raise InputError(_COLOURED.format(name))
    if kind.kind not in "iufb" and kind != _RGB:
        raise InputError(f"{name}: its voxels are of type {kind}, not numbers; convert them to float32 or RGB")
    if kind == _RGB:
        raw = np.asarray(image.dataobj).reshape(shape)
        data = np.stack([raw[c] for c in ("R", "G", "B")])
    elif label:
        data = np.asarray(image.dataobj).reshape((1, *shape))
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            data = np.asarray(image.dataobj, dtype=np.float32).reshape((1, *shape))
    return _volume(data, np.asarray(image.affine, dtype=float), image.header.copy(), name, label)


def _volume(data: np.ndarray, affine: np.ndarray, header: Any, name: str, label: bool) -> Volume:
    """Decoded values as a Volume, after the checks that do not depend on the format."""
    check_values(data.shape, name)
    if label and len(data) != 1:
        raise InputError(_COLOURED.format(name))
    if label:
        data = _whole(data, name)
    else:
        with np.errstate(over="ignore"):  # What float32 cannot hold becomes infinite, which is said.
            data = data.astype(np.float32)
        _check_values(data, name)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise InputError(f"{name}: its affine is not invertible; repair the geometry in the header")
    return Volume(data, Grid((data.shape[1], data.shape[2], data.shape[3]), affine, header), name)


def _whole(values: np.ndarray, name: str) -> np.ndarray:
    """Labels as int32; scaling leaves them as floats, a hair off."""
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise InputError(f"{name}: a mask or label map must not hold NaN or infinity; replace them by 0")
    if values.min() < _LABELS.min or values.max() > _LABELS.max:
        raise InputError(
            f"{name}: holds labels beyond 32 bits; it is no mask or label map, or its scaling is wrong"
        )
    return np.round(values).astype(np.int32)


def _check_values(data: np.ndarray, name: str) -> None:
    bad = int(data.size - np.isfinite(data).sum())
    if bad:
        raise InputError(
            f"{name}: {bad} of {data.size} voxels are NaN or infinite; replace them (by 0, say) first"
        )
    if not data.any():
        raise InputError(f"{name}: every voxel is zero; the export or the conversion of this scan failed")


def to_image(volume: Volume, *, dtype: str = "float32", description: str = "") -> Any:
    """A nibabel image on exactly the volume's grid.

    Args:
        volume: what to convert.
        dtype: numpy name, or ``rgb`` for three channels as NIfTI datatype 128. Integers are rounded and
            clipped to what the type holds, and stored with slope 1.
        description: the header's ``descrip``, at most 79 bytes.
    """
    source = volume.grid.header
    kind = nib.Nifti2Image if isinstance(source, nib.Nifti2Header) else nib.Nifti1Image
    image = kind(_stored(volume, dtype), volume.affine)
    header = image.header
    if isinstance(source, nib.Nifti1Header):
        for key in _GEOMETRY:
            header[key] = source[key]
        if _says_size(source, volume.grid):
            header["pixdim"][:4] = source["pixdim"][:4]
    else:
        header.set_xyzt_units("mm")
    header["descrip"] = description.encode()[:79]
    return image


def _says_size(header: Any, grid: Grid) -> bool:
    """Whether a header's voxel sizes can be believed: those of its affine, or of a qform beside it."""
    sizes = np.asarray(header["pixdim"][1:4], dtype=float)
    sane = np.isfinite(sizes).all() and (sizes > 0).all()
    return bool(sane and (header["qform_code"] or np.allclose(sizes, grid.spacing, rtol=1e-3)))


def _stored(volume: Volume, dtype: str) -> np.ndarray:
    data = volume.data
    if dtype == "rgb":
        levels = np.clip(np.round(data), 0, 255).astype(np.uint8)
        return np.ascontiguousarray(np.moveaxis(levels, 0, -1)).view(_RGB)[..., 0]
    if len(data) != 1:
        raise ValueError(f"{volume.name}: {len(data)} channels can only be stored as rgb")
    kind = np.dtype(dtype)
    if np.issubdtype(kind, np.integer):
        limits = np.iinfo(kind)
        return np.clip(np.round(data[0]), limits.min, limits.max).astype(kind)
    return data[0].astype(kind, copy=False)


def write_volume(
    volume: Volume,
    path: Path | str,
    *,
    dtype: str = "float32",
    description: str = "",
    replaces: Path | None = None,
) -> None:
    """Write a ``.nii`` or ``.nii.gz`` file, whole or not at all; arguments as in :func:`to_image`.

    ``replaces`` is a file about the volume that lay here before: it goes when the new one is whole on the disk.
    """
    path = Path(path)
    suffix = next((s for s in SUFFIXES if path.name.endswith(s)), None)
    if suffix is None:
        raise InputError(f"{path}: the name of an output volume must end in .nii or .nii.gz")
    temporary = part(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        image = to_image(volume, dtype=dtype, description=description)
        # nibabel leaves its own file open when the disk is full.
        packed = suffix == ".nii.gz"
        with open(temporary, "wb") as file:
            with gzip.GzipFile("", "wb", _QUICK, file, mtime=0) if packed else nullcontext(file) as to:
                image.to_file_map(image.make_file_map({"image": to}))
            file.flush()
            os.fsync(file.fileno())
        if replaces is not None:
            replaces.unlink(missing_ok=True)
        os.replace(temporary, path)
    except OSError as problem:
        raise InputError(f"{path}: cannot be written ({problem.strerror}); choose another --out") from problem
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
