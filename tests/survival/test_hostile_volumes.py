"""Volumes that were made to do harm: whatever the bytes, a reader gives a volume or a sentence, and little memory.

Bytes of proper files are changed by hypothesis, the same in every run; benchmarks/hostile.py does it for longer,
with new chances. What was once found broken is in a test of its own.
"""

import gzip
import os
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from hostility import or_a_sentence
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from transmodal.data.elements import check_elements
from transmodal.data.formats import same_locale
from transmodal.data.stacks import read_stack
from transmodal.data.volume import read_volume
from transmodal.errors import InputError

EXAMPLES = int(os.environ.get("TRANSMODAL_HOSTILE", 25))
fuzz = settings(
    max_examples=EXAMPLES,
    derandomize="TRANSMODAL_HOSTILE" not in os.environ,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
VALUES = np.random.default_rng(0).normal(100, 30, (5, 6, 7)).astype(np.float32)
Edit = tuple[int, bytes]
NASTY = st.sampled_from(
    [b"\xff" * 8, b"\x00" * 8, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00\x00\xc0\x7f", b"\x00\x00\x80\x7f",
     b"\xff\x7f", b"\x7f\xff", b"99999999", b"-1", b"nan", b"../", b"/etc/passwd", b"\n", b"1e308"]
)  # fmt: skip
EDITS = st.lists(st.tuples(st.integers(0, 4095), st.binary(min_size=1, max_size=4) | NASTY), max_size=5)


def damaged(content: bytes, edits: Sequence[Edit], cut: int | None) -> bytes:
    """``content`` with bytes overwritten (most headers lie in front), and cut off."""
    changed = bytearray(content)
    for at, piece in edits:
        at %= len(changed)
        changed[at : at + len(piece)] = piece
    return bytes(changed if cut is None else changed[: cut % (len(changed) + 1)])


def nifti(path: Path, kind: type = nib.Nifti1Image) -> None:
    nib.save(kind(VALUES, np.diag([2.0, 2, 2, 1])), path)


def extended(path: Path) -> None:
    image = nib.Nifti1Image(VALUES, np.eye(4))
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"words" * 20))
    nib.save(image, path)


def itk(path: Path) -> None:
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(VALUES), str(path))


def picture_stack(path: Path) -> None:
    path.mkdir()
    for number in range(3):
        SimpleITK.WriteImage(
            SimpleITK.GetImageFromArray(VALUES[number].astype(np.uint8)), str(path / f"{number}.png")
        )
    (path / "stack.json").write_text('{"spacing": [1, 1, 1], "orientation": "LPS", "range": [0, 10]}')


def dicom(path: Path) -> None:
    path.mkdir()
    for number in range(2):
        image = SimpleITK.GetImageFromArray(VALUES[number].astype(np.int16)[None])
        image.SetOrigin((0, 0, 2.0 * number))
        for tag, value in (("0008|0060", "CT"), ("0020|000d", "1.2"), ("0008|0018", f"1.2.3.{number}"),
                           ("0020|000e", "1.2.3"), ("0020|0032", f"0\\0\\{2 * number}"),
                           ("0020|0037", "1\\0\\0\\0\\1\\0"), ("0020|0013", str(number))):  # fmt: skip
            image.SetMetaData(tag, value)
        writer = SimpleITK.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(path / f"{number}.dcm"))
        with same_locale():
            writer.Execute(image)


def array(path: Path) -> None:
    np.save(path, VALUES)
    path.with_suffix(".json").write_text('{"spacing": [1, 1, 1], "orientation": "LPS"}')


MAKERS: dict[str, tuple[Callable[[Path], None], str]] = {
    "one.nii": (nifti, ""),
    "two.nii": (lambda path: nifti(path, nib.Nifti2Image), ""),
    "words.nii": (extended, ""),
    "packed.nii.gz": (nifti, ""),
    "freesurfer.mgz": (lambda path: nib.save(nib.MGHImage(VALUES, np.eye(4)), path), ""),
    "inline.nrrd": (itk, ""),
    "apart.nhdr": (itk, ""),
    "inline.mha": (itk, ""),
    "apart.mhd": (itk, ""),
    "array.npy": (array, ""),
    "slices": (picture_stack, "1.png"),
    "series": (dicom, "1.dcm"),
}


def read_or_refuse(path: Path, label: bool = False) -> None:
    def read() -> None:
        volume = read_volume(path, label=label)
        assert np.isfinite(volume.affine).all()
        assert volume.data.size < 1e6

    or_a_sentence(read)


@pytest.mark.parametrize("name", MAKERS)
def test_changed_bytes_end_in_a_volume_or_a_sentence(name: str, tmp_path: Path) -> None:
    make, victim = MAKERS[name]
    place = tmp_path / name
    make(place)
    read_volume(place)
    file = place / victim if victim else place
    proper = file.read_bytes()

    @fuzz
    @given(EDITS, st.none() | st.integers(0, 4095), st.booleans())
    def attack(edits: list[Edit], cut: int | None, label: bool) -> None:
        file.write_bytes(damaged(proper, edits, cut))
        read_or_refuse(place, label)

    attack()


def header(path: Path, **fields: object) -> bytes:
    """A NIfTI file of 64³ voxels whose header says something else."""
    image = nib.Nifti1Image(np.ones((64, 64, 64), np.float32), np.eye(4))
    image.to_filename(path)
    for name, value in fields.items():
        image.header[name] = value
    return image.header.binaryblock + path.read_bytes()[348:]


def promise(path: Path) -> None:
    """A terabyte."""
    path.write_bytes(header(path, dim=[3, 10_000, 10_000, 3000, 1, 1, 1, 1]))


def bomb(path: Path) -> None:
    """Fewer, and a stream that has them: 2 MB that unpack to 1.7 GB."""
    whole = header(path.with_suffix(""), dim=[3, 1625, 1000, 1000, 1, 1, 1, 1], datatype=2, bitpix=8)
    path.write_bytes(gzip.compress(whole, 1) + gzip.compress(bytes(2**26), 9) * 26)


def far(path: Path) -> None:
    """Voxels that begin after a terabyte of nothing."""
    path.write_bytes(header(path, vox_offset=1e12))


def long(path: Path) -> None:
    """An extension of two gigabytes."""
    content = header(path, vox_offset=400)
    path.write_bytes(content[:348] + b"\1\0\0\0" + struct.pack("<ii", 2**31 - 16, 6) + content[352:])


def picture(path: Path) -> None:
    """Slices of 40 000 × 40 000 in a few bytes each."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    path.mkdir()
    (path / "stack.json").write_text('{"spacing": [1, 1, 1], "orientation": "LPS"}')
    shape = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 0, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", shape) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    for number in range(2):
        (path / f"{number}.png").write_bytes(content)


def text_header(path: Path, lines: str) -> None:
    path.write_bytes(lines.encode() + bytes(400))


META = "ObjectType = Image\nNDims = 3\nDimSize = %s\nElementType = MET_FLOAT\nElementDataFile = %s\n"
NRRD = "NRRD0004\ntype: float\ndimension: 3\nsizes: %s\nencoding: raw\nendian: little\n%s\n"
BOMBS: dict[str, Callable[[Path], None]] = {
    "promise.nii": promise,
    "bomb.nii.gz": bomb,
    "far.nii": far,
    "long.nii": long,
    "pictures": picture,
    "huge.mha": lambda path: text_header(path, META % ("30000 30000 3000", "LOCAL")),
    "huge.nrrd": lambda path: text_header(path, NRRD % ("30000 30000 3000", "")),
}
_READ_ALL = """
import resource, sys
from transmodal.data.elements import check_elements
from transmodal.data.formats import same_locale
from transmodal.data.volume import read_volume
from transmodal.errors import InputError

here = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (here + 2**28, here + 2**28))
for path in sys.argv[1:]:
    try:
        read_volume(path)
    except InputError as problem:
        print(problem)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the size of a process is read from /proc")
def test_no_promise_is_given_memory(tmp_path: Path) -> None:
    """256 MB are all that the process may ask for beside what it had before it read."""
    for name, make in BOMBS.items():
        make(tmp_path / name)
    paths = [str(tmp_path / name) for name in BOMBS]
    done = subprocess.run([sys.executable, "-c", _READ_ALL, *paths], capture_output=True, timeout=120)
    said = done.stdout.decode(errors="replace").splitlines()
    assert len(said) == len(BOMBS), done.stderr[-2000:]
    for name, sentence in zip(BOMBS, said, strict=True):
        assert name in sentence
        assert "limit" in sentence or "header is damaged" in sentence, sentence


@pytest.mark.parametrize(
    "outside", ["/etc/passwd", "../../secret.raw", "LIST\n../secret.raw", "../%03d.raw 1 3 1"]
)
@pytest.mark.parametrize("suffix", [".mhd", ".mha", ".nhdr", ".nrrd"])
def test_a_header_names_no_file_outside_its_folder(tmp_path: Path, suffix: str, outside: str) -> None:
    path = tmp_path / f"scan{suffix}"
    nrrd = suffix in (".nhdr", ".nrrd")
    text_header(path, NRRD % ("2 2 2", f"data file: {outside}\n") if nrrd else META % ("2 2 2", outside))
    with pytest.raises(InputError, match="outside its folder"):
        read_volume(path)


def test_more_axes_than_itk_has_room_for_do_not_kill_it(tmp_path: Path) -> None:
    """MetaIO writes beyond its arrays where NDims is large."""
    path = tmp_path / "scan.mha"
    text_header(path, (META % ("2 2 2", "LOCAL")).replace("= 3", "=99999999"))
    with pytest.raises(InputError, match="NDims = 99999999"):
        read_volume(path)


def test_a_damaged_slice_comes_to_an_end(tmp_path: Path) -> None:
    """GDCM's search for series never returns from this one."""
    dicom(tmp_path / "series")
    file = tmp_path / "series" / "1.dcm"
    content = file.read_bytes()
    broken = re.sub(rb"\x02\x00\x12\x00UI.", b"\x02\x00\x12\x00U?\x8b", content)
    assert broken != content
    file.write_bytes(broken)
    with pytest.raises(InputError, match=r"1\.dcm"):
        read_volume(tmp_path / "series")


def test_a_header_of_an_array_that_python_cannot_parse_is_a_sentence(tmp_path: Path) -> None:
    text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (3,\n"
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text)
    with pytest.raises(InputError, match="cannot be read as an array"):
        read_stack(tmp_path / "a.npy")


def test_labels_beyond_32_bits_are_refused_and_not_wrapped(tmp_path: Path) -> None:
    path = tmp_path / "labels.nii"
    nib.save(nib.Nifti1Image(VALUES.astype(np.float64) * 1e9, np.eye(4)), path)
    with pytest.raises(InputError, match="beyond 32 bits"):
        read_volume(path, label=True)


def test_private_sequences_of_unknown_kind_are_walked(tmp_path: Path) -> None:
    """UN of undefined length holds implicit elements, whatever the file is; zeros may follow the pixels."""

    def item(number: int, length: int = 0) -> bytes:
        return struct.pack("<HHI", 0xFFFE, number, length)

    def explicit(group: int, number: int, kind: bytes, value: bytes) -> bytes:
        return struct.pack("<HH2sH", group, number, kind, len(value)) + value

    path = tmp_path / "slice.dcm"
    front = bytes(128) + b"DICM" + explicit(2, 0x10, b"UI", b"1.2.840.10008.1.2.1\0")
    private = struct.pack("<HH2s2xI", 0x11, 0x1000, b"UN", 0xFFFFFFFF) + item(0xE000, 0xFFFFFFFF)
    private += struct.pack("<HHI4s", 0x11, 0x1001, 4, b"word") + item(0xE00D) + item(0xE0DD)
    pixels = struct.pack("<HH2s2xI", 0x7FE0, 0x10, b"OW", 8) + b"abcdefgh"
    proper = front + private + explicit(0x20, 0x13, b"IS", b"1 ") + pixels
    path.write_bytes(proper + bytes(64))
    check_elements(path)
    for length in (16, 2**31, 2**32 - 2):
        path.write_bytes(proper.replace(struct.pack("<I", 8) + b"abc", struct.pack("<I", length) + b"abc"))
        with pytest.raises(InputError, match="damaged"):
            check_elements(path)
