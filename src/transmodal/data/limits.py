"""Limits: how much a file may ask for. They are checked against its header, before memory is given.

A header of 348 bytes can promise terabytes, and a small gzip file can unpack to them. No scan that we know of
comes near these numbers.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, SupportsFloat

import numpy as np

from transmodal.errors import InputError

MOST_VALUES = 2**30
"""Voxels × channels of one volume: 1024 × 1024 × 1024, 4 GiB as float32."""
MOST_HEADER = 2**24
"""Bytes before the voxels of a NIfTI file."""
MOST_PARAMETERS, MOST_TENSORS = 2**30, 20_000
"""Numbers that the networks of a model learn, and tensors that hold them."""
MOST_ARGUMENT = 2**16
"""Of a whole number among the arguments of networks: their widths, depths, counts."""
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


def check_size(path: Path, most: int) -> None:
    """Refuse a file of more than ``most`` bytes.

    Raises:
        InputError: naming both sizes.
        OSError: the file cannot be looked at.
    """
    size = path.stat().st_size
    if size > most:
        raise InputError(f"{path}: is {size / 1e6:.0f} MB long where {most / 1e6:.0f} MB are the limit")


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
