"""Tensor file: named tensors out of files that others have written, and what tells one set from another.

A ``.pth`` file is read by torch's restricted reader, which builds tensors and runs no code.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from transmodal.data.limits import check_plain
from transmodal.errors import InputError


def digest(path: Path) -> str:
    """The sha256 of a file.

    Raises:
        InputError: a pipe or a device.
    """
    check_plain(path)
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def state_digest(tensors: Mapping[str, Tensor], header: str = "") -> str:
    """The sha256 of names, types, shapes and values of all tensors, and of a header."""
    found = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        found.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors in a file.

    Args:
        path: ``.safetensors``, or ``.pth`` as torch writes it.

    Raises:
        InputError: not a file of tensors.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    # Bytes that are no tensors can look to a reader of pickles like any of its commands, with errors of any kind.
    except Exception as problem:
        raise InputError(f"{path}: is not a file of tensors ({_nature(path)}); download it again") from problem
    if not isinstance(state, dict) or not all(
        isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()
    ):
        raise InputError(f"{path}: holds something else than named tensors; download it again")
    return state


def _nature(path: Path) -> str:
    """What a file is that holds no tensors; torch's own words end with the advice to run code of strangers."""
    with open(path, "rb") as file:
        start = file.read(200)
    if not start:
        return "it is empty"
    if start.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS to the file itself, which `git lfs pull` fetches"
    if start.lstrip().startswith(b"<"):
        return "it is a web page, perhaps one that asks for a login"
    return "it is damaged, or something else than torch or safetensors write"


def check_tensor(path: Path, key: str, found: Tensor | None, shape: Sequence[int], network: str) -> Tensor:
    """The tensor of a file, as a network needs it.

    Raises:
        InputError: there is none, or it has another shape, whole numbers, or values that are no numbers.
    """
    if found is not None and not found.is_floating_point():
        raise InputError(f"{path}: {key} holds {found.dtype}, not floating-point numbers; download the file again")
    if found is None or found.shape != torch.Size(shape):
        said = "missing" if found is None else list(found.shape)
        raise InputError(
            f"{path}: {key} should be {list(shape)}, but is {said}; these are not the weights of {network}"
        )
    if not bool(found.float().isfinite().all()):
        raise InputError(f"{path}: {key} holds NaN or infinite values; the file is damaged: download it again")
    return found
