"""Pretrained: files of weights that others have trained, found, checked and read. Never silently replaced.

A file is looked for where the recipe says, else in the cache that ``transmodal download`` fills. A digest that is
known must match. A ``.pth`` file is read by torch's restricted reader, which builds tensors and runs no code.
"""

import hashlib
import os
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from transmodal.data.limits import check_plain
from transmodal.errors import InputError, RecipeError, nearest
from transmodal.nn.feature_cache import FeatureCache

RANDOM = "random"
"""In the place of a path: no file is read."""


@dataclass(frozen=True)
class Weights:
    """A published file.

    Attributes:
        url: where it lies.
        sha256: its digest, or the first digits of it that are published; empty where none is.
        licence: what its makers say.
        hub: the repository of Hugging Face that holds the same weights as ``model.safetensors``; empty for none.
        saved_as: its name in the cache, where that of the url says too little.
    """

    url: str
    sha256: str
    licence: str
    hub: str = ""
    saved_as: str = ""

    @property
    def filename(self) -> str:
        """Its name in the cache."""
        return self.saved_as or self.url.rsplit("/", 1)[1]


def _sam(file: str, sha256: str, hub: str) -> Weights:
    url = f"https://dl.fbaipublicfiles.com/segment_anything/{file}"
    return Weights(url, sha256, "Apache-2.0 (Segment Anything); trained on SA-1B", f"facebook/{hub}")


def _sam2(size: str) -> Weights:
    hub = f"facebook/sam2.1-hiera-{size}"
    url = f"https://huggingface.co/{hub}/resolve/main/model.safetensors"
    licence = "Apache-2.0 (SAM 2.1); trained on SA-V and SA-1B"
    return Weights(url, "", licence, hub, f"sam2.1-hiera-{size}.safetensors")


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
    "sam-vit-b": _sam(
        "sam_vit_b_01ec64.pth", "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912", "sam-vit-base"
    ),
    "sam-vit-l": _sam(
        "sam_vit_l_0b3195.pth", "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622", "sam-vit-large"
    ),
    "sam-vit-h": _sam(
        "sam_vit_h_4b8939.pth", "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e", "sam-vit-huge"
    ),
    "medsam-vit-b": Weights(
        "https://zenodo.org/records/10689643/files/medsam_vit_b.pth",
        "",
        "Apache-2.0 (MedSAM); trained on public medical images",
        "wanglab/medsam-vit-base",
    ),
    **{f"sam2-hiera-{size}": _sam2(size) for size in ("tiny", "small", "base-plus", "large")},
}


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights that a network asks for, and may have to do without.

    Attributes:
        name: of the weights, among :data:`KNOWN`; empty where none are published.
        path: where it is; empty for the caches, and :data:`RANDOM` for random weights even where there is a file.
        sha256: the digest that it must have; empty for the published one, where there is one.
        optional: whether random weights will do where there is no file.
        network: whose they are, for messages.
    """

    name: str
    path: str
    sha256: str
    optional: bool
    network: str

    def find(self) -> Path | None:
        """The file; None where there is none and random weights will do.

        Raises:
            InputError: there is none.
        """
        if self.path == RANDOM:
            if not self.optional:
                raise InputError(f"{self.network} is to have random weights; say so with allow_random = true")
            return None
        if self.path:
            # Somebody meant this file: random weights instead of it would be a surprise.
            return find(self.name or self.network, self.path)
        try:
            if not self.name:
                raise InputError(
                    f"{self.network} has no published weights; name a file of yours as encoder_weights, or "
                    "set allow_random = true to go on without"
                )
            return find(self.name)
        except InputError:
            if self.optional:
                return None
            raise

    def read(self) -> tuple[Path, dict[str, Tensor], str] | None:
        """The file, its tensors and its digest; None as above.

        Raises:
            InputError: no file, another digest, or not a file of tensors.
        """
        path = self.find()
        return None if path is None else (path, *read(path, self.name, self.sha256))


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


@runtime_checkable
class Remembers(Protocol):
    """A network that can keep what it has computed."""

    def remember(self, folder: Path) -> FeatureCache | None:
        """Begin to keep it in files below ``folder``; None where that is not wanted."""
        ...


def frozen_networks(method: object) -> list[Pretrained]:
    """The pretrained networks inside a method."""
    assert isinstance(method, nn.Module)
    return [module for module in method.modules() if isinstance(module, Pretrained)]


def origins(method: object) -> list[str]:
    """Which weights the pretrained networks of a method have: for everything that training writes."""
    return [network.origin for network in frozen_networks(method)]


def load_as_before(networks: Sequence[Pretrained], said: Sequence[str]) -> None:
    """Read the weights that a Model was trained with.

    Args:
        networks: those that translating needs.
        said: what :func:`origins` gave in training.

    Raises:
        InputError: no file, or weights other than those.
    """
    for network in networks:
        network.load_weights()
    check_as_before(networks, said)


def check_as_before(networks: Sequence[Pretrained], said: Sequence[str]) -> None:
    """Refuse other weights than a training had; arguments and errors as those of :func:`load_as_before`."""
    # What a file is called may change, its digest may not.
    before = {sentence.rpartition("sha256 ")[2] for sentence in said}
    for network in networks:
        if network.origin.rpartition("sha256 ")[2] not in before:
            raise InputError(
                f"this was trained with other weights ({'; '.join(said)}) than those found "
                f"({network.origin}); supply the same file"
            )


def cache() -> Path:
    """Where downloaded files lie: ``$TRANSMODAL_CACHE/weights``, else ``~/.cache/transmodal/weights``."""
    return cache_root() / "weights"


def cache_root() -> Path:
    """``$TRANSMODAL_CACHE``, else ``~/.cache/transmodal``."""
    root = os.environ.get("TRANSMODAL_CACHE")
    return Path(root) if root else Path.home() / ".cache" / "transmodal"


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
        name: one of :data:`KNOWN`; of others the path must be given.
        given: its path; empty for the cache, and then that of Hugging Face.

    Raises:
        InputError: it is not there; says how to supply it.
    """
    if given:
        # A Model remembers a path of the machine it was trained on; a file of that name in the cache will do, as
        # digests are compared.
        path = next((p for p in (Path(given), cache() / Path(given).name) if p.is_file()), Path(given))
    else:
        path = cache() / known(name).filename
        if not path.is_file():
            path = _in_hub(known(name).hub) or path
    if path.is_file():
        return path
    if name not in KNOWN:
        raise InputError(f"{path}: the weights {name!r} are not there; copy them to that place")
    raise InputError(
        f"{path}: the weights {name!r} are not there; run `transmodal download {name}`, or download "
        f"{known(name).url} elsewhere and copy it to that place"
    )


def _in_hub(repository: str) -> Path | None:
    """``model.safetensors`` in the cache of Hugging Face; nothing is downloaded."""
    if not repository or find_spec("huggingface_hub") is None:
        return None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, "model.safetensors")
    return Path(found) if isinstance(found, str) else None


def digest(path: Path) -> str:
    """The sha256 of a file.

    Raises:
        InputError: a pipe or a device.
    """
    check_plain(path)
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read(path: Path, name: str, sha256: str = "") -> tuple[dict[str, Tensor], str]:
    """The tensors in a file, and its digest.

    Args:
        path: ``.safetensors``, or ``.pth`` as torch writes it.
        name: of the weights; a ``.pth`` must have their digest where one is published.
        sha256: a digest, or its first digits, that the file must have instead.

    Raises:
        InputError: another digest, or not a file of tensors.
    """
    found = digest(path)
    published = "" if path.suffix == ".safetensors" or name not in KNOWN else KNOWN[name].sha256
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
