"""Pretrained: files of weights that others have trained, found, checked and read. Never silently replaced.

A file is looked for where the recipe says, else in the cache that ``transmodal download`` fills. A digest that is
known must match. A ``.pth`` file is read by torch's restricted reader, which builds tensors and runs no code.
"""

import hashlib
import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from transmodal.errors import InputError, RecipeError, nearest


@dataclass(frozen=True)
class Weights:
    """A published file.

    Attributes:
        url: where it lies.
        sha256: its digest, or the first digits of it that are published; empty where none is.
        licence: what its makers say.
    """

    url: str
    sha256: str
    licence: str

    @property
    def filename(self) -> str:
        """Its name in the cache."""
        return self.url.rsplit("/", 1)[1]


KNOWN = {
    "vgg19": Weights(
        "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
        "dcbb9e9d",
        "BSD-3-Clause (torchvision); trained on ImageNet, whose images are for research",
    ),
    "vgg19-normalised": Weights(
        "https://github.com/naoto0804/pytorch-AdaIN/releases/download/v0.0.0/vgg_normalised.pth",
        "",
        "MIT (pytorch-AdaIN); after VGG-19 of Simonyan and Zisserman, CC BY 4.0",
    ),
}


@runtime_checkable
class Pretrained(Protocol):
    """A frozen network whose weights come from a file. It is no player, and no Model holds its weights.

    Attributes:
        origin: a sentence that says which weights it has now.
    """

    origin: str

    def find_weights(self) -> Path | None:
        """The file, or None where random weights are allowed and there is none; raises InputError."""
        ...

    def load_weights(self) -> None:
        """Read the file; raises InputError."""
        ...


def frozen_networks(method: object) -> list[Pretrained]:
    """The pretrained networks inside a method."""
    assert isinstance(method, nn.Module)
    return [module for module in method.modules() if isinstance(module, Pretrained)]


def origins(method: object) -> list[str]:
    """Which weights the pretrained networks of a method have: for everything that training writes."""
    return [network.origin for network in frozen_networks(method)]


def cache() -> Path:
    """Where downloaded files lie: ``$TRANSMODAL_CACHE/weights``, else ``~/.cache/transmodal/weights``."""
    root = os.environ.get("TRANSMODAL_CACHE")
    return (Path(root) if root else Path.home() / ".cache" / "transmodal") / "weights"


def known(name: str) -> Weights:
    """What is known of a file.

    Raises:
        RecipeError: nothing; with the nearest name.
    """
    if name not in KNOWN:
        raise RecipeError(f"there are no weights {name!r}{nearest(name, KNOWN)}")
    return KNOWN[name]


def find(name: str, given: str = "") -> Path:
    """The file of weights called ``name``.

    Args:
        name: one of :data:`KNOWN`.
        given: its path; empty for the cache.

    Raises:
        InputError: it is not there; says how to supply it.
    """
    path = Path(given) if given else cache() / known(name).filename
    if path.is_file():
        return path
    raise InputError(
        f"{path}: the weights {name!r} are not there; run `transmodal download {name}`, or download "
        f"{known(name).url} elsewhere and copy it to that place"
    )


def digest(path: Path) -> str:
    """The sha256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read(path: Path, name: str, sha256: str = "") -> tuple[dict[str, Tensor], str]:
    """The tensors in a file, and its digest.

    Args:
        path: ``.safetensors``, or ``.pth`` as torch writes it.
        name: one of :data:`KNOWN`, whose digest a ``.pth`` must have where it is published.
        sha256: a digest, or its first digits, that the file must have instead.

    Raises:
        InputError: another digest, or not a file of tensors.
    """
    found = digest(path)
    published = "" if path.suffix == ".safetensors" else known(name).sha256
    wanted = (sha256 or published).lower()
    if not found.startswith(wanted):
        raise InputError(
            f"{path}: its sha256 is {found}, but {wanted}… is expected of {name!r}; "
            "the file is damaged or another one: download it again"
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path), found
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as problem:
        reason = (str(problem) or type(problem).__name__).splitlines()[0]
        raise InputError(f"{path}: is not a file of tensors ({reason}); download it again") from problem
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise InputError(f"{path}: holds something else than named tensors; download it again")
    return state, found


def download(name: str, folder: Path | None = None) -> Path:
    """Fetch a file of weights into ``folder`` (by default the cache), whole or not at all.

    Raises:
        RecipeError: no weights of that name are known.
        InputError: no connection, no permission, or another digest than the published one.
    """
    weights = known(name)
    path = (folder or cache()) / weights.filename
    if path.is_file() and digest(path).startswith(weights.sha256):
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(weights.url, str(path), weights.sha256 or None, progress=False)
    except (OSError, RuntimeError) as problem:
        raise InputError(
            f"{weights.url}: cannot be downloaded to {path} ({problem}); "
            "fetch it on another machine and copy it there"
        ) from problem
    return path
