"""Limits: how much a file may ask for. They are checked against its header, before memory is given.

A header of 348 bytes can promise terabytes, and a small gzip file can unpack to them. No scan that we know of
comes near these numbers.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any, SupportsFloat

import numpy as np

from transmodal.errors import InputError

MOST_VALUES = 2**30
"""Voxels × channels of one volume: 1024 × 1024 × 1024, 4 GiB as float32."""
MOST_TILE = 2**27
"""Voxels × channels of one tile of a model: 512 × 512 × 512."""
MOST_HEADER = 2**24
"""Bytes before the voxels of a NIfTI file."""
MOST_PARAMETERS, MOST_TENSORS = 2**30, 20_000
"""Numbers that the networks of a model learn, and tensors that hold them."""
MOST_ARGUMENT = 2**16
"""Of a whole number among the arguments of networks: their widths, sizes, counts."""
MOST_LAYERS = 256
"""Of a network's depth, blocks or layers, as methods call them; thousands take minutes to build."""
MOST_TEXT = 2**28
"""Bytes of a table or of a JSON or TOML file."""


def check_values(shape: Sequence[SupportsFloat], name: Path | str) -> None:
    """Refuse a volume with no voxels or with more than any scanner makes.

    Args:
        shape: voxels along every axis, and channels.
        name: where that is said, for the message.

    Raises:
        InputError: naming the shape.
    """
    sizes = [float(n) for n in shape]
    if not all(np.isfinite(sizes)) or min(sizes, default=0) <= 0:
        raise InputError(f"{name}: has no voxels (shape {_spelt(shape)}); export it again")
    if prod(sizes) > MOST_VALUES:
        raise InputError(
            f"{name}: promises {_spelt(shape)} = {prod(sizes):.3g} values where {MOST_VALUES:.3g} are the limit; "
            "its header is damaged, or the scan has to be cut or resampled first"
        )


def check_plain(path: Path) -> int:
    """Refuse what is no file on a disk: a pipe is waited for, and a device may never end.

    A folder is let through, for whoever opens it to say so in its own words.

    Returns:
        Its bytes.

    Raises:
        InputError: a pipe, a socket or a device.
        OSError: it cannot be looked at.
    """
    found = path.stat()
    if not S_ISREG(found.st_mode) and not S_ISDIR(found.st_mode):
        raise InputError(f"{path}: is a pipe or a device where a file is needed; copy what it gives into a file")
    return found.st_size


def check_size(path: Path, most: int) -> int:
    """Refuse a file of more than ``most`` bytes, and what is no file (:func:`check_plain`).

    Returns:
        Its bytes.

    Raises:
        InputError: naming both sizes.
        OSError: the file cannot be looked at.
    """
    size = check_plain(path)
    if size > most:
        raise InputError(f"{path}: is {size / 1e6:.0f} MB long where {most / 1e6:.0f} MB are the limit")
    return size


def read_whole(path: Path, most: int) -> bytes:
    """All of a file of at most ``most`` bytes.

    Raises:
        InputError: it is longer, grows while it is read, or is no file.
        OSError: it cannot be read.
    """
    size = check_size(path, most)
    with open(path, "rb") as file:
        content = file.read(size + 1)
    if len(content) > size:
        raise InputError(f"{path}: is longer than it says; wait until it is written, or copy it into a file")
    return content


def numbers(value: Any) -> Iterator[int | float]:
    """Every number in nested arguments."""
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    for one in inner:
        yield from numbers(one)
    if isinstance(value, int | float):
        yield value


def whole_numbers(value: Any) -> Iterator[int]:
    """Every whole number in nested arguments, to be held against :data:`MOST_ARGUMENT`."""
    return (number for number in numbers(value) if isinstance(number, int))


def _spelt(shape: Sequence[SupportsFloat]) -> str:
    return "×".join(f"{float(n):g}" for n in shape) or "none"
