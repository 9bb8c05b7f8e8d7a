"""Formats beside NIfTI: NRRD, MetaImage and DICOM series, as values and an affine. SimpleITK decodes, we distrust.

Affines are RAS+ as everywhere here; ITK's and DICOM's own are LPS.
"""

import locale
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK
from jaxtyping import Shaped

from transmodal.data.elements import check_elements
from transmodal.data.limits import MOST_HEADER, check_plain, check_values
from transmodal.errors import InputError
from transmodal.progress import warn
from transmodal.shapes import Affine

ITK = (".nrrd", ".nhdr", ".mha", ".mhd")
_META, _HEADER = (".mha", ".mhd"), 8192
_META_DIRECTIONS, _NRRD_DIRECTIONS = (b"transformmatrix", b"rotation", b"orientation"), (b"space directions",)
_DATA_FILE = re.compile(
    r"^(?:ElementDataFile\s*=|data ?file:)\s*[ \t]*(.+?)[ \t\r]*$", re.MULTILINE | re.IGNORECASE
)
_AXES = re.compile(r"NDims\s*[=:]?[ \t]*(.*?)[ \t\r]*$", re.MULTILINE | re.IGNORECASE)
_LPS = np.diag([-1.0, -1.0, 1.0])
_TILT_DEG, _UNEVEN = 0.1, 0.02
_SERIES, _POSITION, _ORIENTATION, _PIXELS = "0020|000e", "0020|0032", "0020|0037", "0028|0030"

Decoded = tuple[Shaped[np.ndarray, "C X Y Z"], Affine]


def read_itk(path: Path) -> Decoded:
    """An NRRD or MetaImage file.

    Raises:
        InputError: unreadable, or not three axes.
    """
    _check_header(path)
    try:
        image = read_within(path)
    except RuntimeError as problem:
        raise InputError(
            f"{path}: cannot be read as {path.suffix.lstrip('.').upper()} ({_last_line(problem)}); it may be "
            "truncated, or its data file is missing: copy it again, or convert it to .nii.gz"
        ) from problem
    if image.GetDimension() != 3:
        raise InputError(f"{path}: has {image.GetDimension()} axes where a 3D volume is needed")
    affine = np.eye(4)
    affine[:3, :3] = _LPS @ np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = _LPS @ image.GetOrigin()
    return _values(image), affine


def read_within(path: Path) -> SimpleITK.Image:
    """An image of any format that ITK reads, once its header is known to promise no more than there can be.

    Raises:
        InputError: it promises more.
        RuntimeError: from ITK.
    """
    if path.exists():
        check_plain(path)
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    with same_locale():  # Whatever no other reader of ITK takes is shown to GDCM.
        reader.ReadImageInformation()
        check_values([*reader.GetSize(), reader.GetNumberOfComponents()], path)
        return reader.Execute()


def _check_header(path: Path) -> None:
    """What ITK would believe: a number of axes that it has no room for, or any file of the machine as values."""
    for axes in _AXES.findall(_text(path)) if path.name.lower().endswith(_META) else ():
        if axes not in ("2", "3", "4"):
            raise InputError(f"{path}: has NDims = {axes[:20]} where a 3D volume is needed")
    inside = os.path.abspath(path.parent)
    for name in _named(path):
        # By the words alone: data that are kept elsewhere and linked to here are as good as here.
        if os.path.commonpath([inside, os.path.abspath(path.parent / name)]) != inside:
            raise InputError(f"{path}: takes its values from {name!r}, outside its folder; move them into it")
        if (path.parent / name).exists():
            check_plain(path.parent / name)


def detached(path: Path) -> list[Path]:
    """The files with the values of a ``.mhd`` or ``.nhdr``, as its header names them and as far as they exist."""
    return [path.parent / name for name in _named(path) if (path.parent / name).is_file()]


def _named(path: Path) -> list[str]:
    """The files that a header gives as its values: one, a pattern of names, or a list in the lines that follow."""
    if not path.name.lower().endswith(ITK):
        return []
    text = _text(path)
    found = _DATA_FILE.search(text)
    if found is None or found[1].upper() == "LOCAL":
        return []
    if not found[1].upper().startswith("LIST"):
        return [found[1], *found[1].split()[:1]]
    return [line.strip() for line in text[found.end() :].splitlines() if line.strip()]


def _text(path: Path) -> str:
    with open(path, "rb") as file:
        return file.read(MOST_HEADER).decode("latin-1").replace("\0", "")


def says_where(path: Path) -> bool:
    """Whether the header of an NRRD or MetaImage file gives the directions of its axes."""
    with open(path, "rb") as file:
        head = file.read(_HEADER).lower()
    meta = path.name.lower().endswith(_META)
    return any(word in head for word in (_META_DIRECTIONS if meta else _NRRD_DIRECTIONS))


def is_dicom(folder: Path) -> bool:
    """Whether a folder holds a DICOM file."""
    return folder.is_dir() and any(_has_magic(path) for path in sorted(folder.iterdir()))


@dataclass(frozen=True)
class _Slice:
    """One file of a series, and where it lies in LPS millimetres."""

    file: str
    series: str
    size: tuple[int, ...]
    position: np.ndarray
    orientation: np.ndarray
    pixels: np.ndarray


@contextmanager
def same_locale() -> Iterator[None]:
    """GDCM may leave the process in the locale C; text files opened afterwards would be read as ASCII."""
    before = locale.setlocale(locale.LC_ALL)
    try:
        yield
    finally:
        locale.setlocale(locale.LC_ALL, before)


def read_dicom(folder: Path) -> Decoded:
    """The one series in a folder, ordered by position; rescaled to its units (HU for CT).

    The affine is that of the slices' own positions, so a tilted gantry gives sheared axes, which is what they are.

    Raises:
        InputError: no series, several, two orientations, a slice that is missing or twice, or files that differ.
    """
    with same_locale():
        return _read_dicom(folder)


def _read_dicom(folder: Path) -> Decoded:
    # Not by GDCM's own search for series, which some damaged files never let come to an end.
    files = sorted(path for path in folder.iterdir() if path.name != "DICOMDIR" and _has_magic(path))
    slices = [_look(path) for path in files]
    if not slices:
        raise InputError(f"{folder}: a folder was given that holds no DICOM series; give a file, or one series")
    if (mixed := len({one.series for one in slices})) > 1:
        raise InputError(
            f"{folder}: holds {mixed} DICOM series mixed; put each into a folder of its own and name one"
        )
    first = slices[0]
    for other in slices[1:]:
        if not np.allclose(other.orientation, first.orientation, atol=1e-3):
            raise InputError(
                f"{folder}: {Path(other.file).name} is oriented otherwise than {Path(first.file).name}; a volume "
                "has one orientation: take out the localiser"
            )
        if not np.allclose(other.pixels, first.pixels, rtol=1e-3):
            raise InputError(f"{folder}: {Path(other.file).name} has pixels of another size; take it out")
    row, column = first.orientation[:3], first.orientation[3:]
    normal = np.cross(row, column)
    slices.sort(key=lambda s: float(s.position @ normal))
    step = _step(folder, slices, normal)
    check_values([*slices[0].size, len(slices)], folder)
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames([s.file for s in slices])
    try:
        image = reader.Execute()
    except RuntimeError as problem:
        raise InputError(
            f"{folder}: its slices cannot be stacked ({_last_line(problem)}); export it again"
        ) from problem
    # DICOM gives the distance between rows first; "row" is the direction in which columns are counted.
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = row * first.pixels[1], column * first.pixels[0], step
    affine[:3, 3] = slices[0].position
    affine[:3] = _LPS @ affine[:3]
    return _values(image), affine


def _look(path: Path) -> _Slice:
    check_elements(path)
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        check_values([*reader.GetSize(), reader.GetNumberOfComponents()], path)
        series = reader.GetMetaData(_SERIES)
        tags = [np.array([float(v) for v in reader.GetMetaData(tag).split("\\")])
                for tag in (_POSITION, _ORIENTATION, _PIXELS)]  # fmt: skip
    except (RuntimeError, ValueError) as problem:
        raise InputError(
            f"{path}: does not say where its slice lies (position, orientation, pixel spacing); export it again"
        ) from problem
    if [len(tag) for tag in tags] != [3, 6, 2] or not all(np.isfinite(tag).all() for tag in tags):
        raise InputError(f"{path}: its position, orientation or pixel spacing is no place; export it again")
    return _Slice(str(path), series, tuple(reader.GetSize()), *tags)


def _step(folder: Path, slices: list[_Slice], normal: np.ndarray) -> np.ndarray:
    """From one slice to the next, in LPS millimetres; they must be as far apart as each other."""
    if len(slices) < 2:
        raise InputError(f"{folder}: holds one slice where a volume is needed")
    places = np.array([s.position @ normal for s in slices])
    gaps = np.diff(places)
    usual = float(np.median(gaps))
    for gap, one, two in zip(gaps, slices, slices[1:], strict=False):
        names = f"{Path(one.file).name} and {Path(two.file).name}"
        if gap < 1e-3:
            raise InputError(f"{folder}: {names} lie at one place; two echoes or time points are mixed: keep one")
        if abs(gap - usual) > max(_UNEVEN * usual, 1e-2):
            raise InputError(
                f"{folder}: between {names} are {gap:.2f} mm where others are {usual:.2f} mm apart; a slice is "
                "missing: copy the series again"
            )
    step = (slices[-1].position - slices[0].position) / (len(slices) - 1)
    tilt = np.degrees(np.arccos(min(1.0, float(step @ normal) / float(np.linalg.norm(step)))))
    if tilt > _TILT_DEG:
        warn(f"{folder}: the gantry was tilted by {tilt:.1f} degrees; the affine is sheared accordingly")
    return np.asarray(step)


def _values(image: SimpleITK.Image) -> Shaped[np.ndarray, "C X Y Z"]:
    values = SimpleITK.GetArrayFromImage(image)
    channels = values[..., None] if image.GetNumberOfComponentsPerPixel() == 1 else values
    return np.asarray(np.ascontiguousarray(channels.transpose(3, 2, 1, 0)))


def _has_magic(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        with open(path, "rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _last_line(problem: Exception) -> str:
    return " ".join(str(problem).strip().rsplit("\n", 1)[-1].split())[:160]
