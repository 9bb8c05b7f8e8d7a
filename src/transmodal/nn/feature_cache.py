"""Feature cache: what a frozen network says of an image is computed once and read from disk ever after.

The key is the content of the image and what makes its features: network, digest of the weights, taps, size,
preprocessing, precision, kind of device and versions. What is stale is therefore not found, and computed anew;
nothing has to be declared out of date. Left out is what changes no more than the last digits: the number of
threads, a driver. A folder per key without the image, with ``about.json`` in it; a memory-mapped file per image,
whose last four bytes are a checksum of the rest, verified when the file is first read.
"""

import hashlib
import io
import json
import math
import shutil
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from transmodal.data.files import write_bytes, write_json
from transmodal.errors import InputError
from transmodal.progress import warn

Precision = Literal["float32", "float16"]
FORMAT = 2
"""Raised whenever files are written in another way."""
_LARGEST = 6e4
"""What half precision holds, less some room."""
_TOLERANCE = 2e-3
"""What half precision may be off by, as a share of the deviation of a map's values."""
_CHECKSUM = 4


class FeatureCache:
    """The features of one network.

    Args:
        folder: where the folders of all caches lie.
        about: whatever changes the features, but for the image.
        shapes: (C, X, Y) of each map.
        precision: ``float32`` gives back what was computed, bit for bit; ``float16`` takes half of the disk and
            rounds each value to 11 binary digits, with a warning where that is off by 0.002 deviations.
    """

    def __init__(
        self, folder: Path, about: Mapping[str, Any], shapes: Sequence[tuple[int, ...]], precision: Precision
    ) -> None:
        facts = {**about, "precision": precision, "shapes": [list(shape) for shape in shapes], "format": FORMAT}
        key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
        self.folder = folder / f"{about['encoder']}-{key}"
        self.shapes, self.dtype = [tuple(shape) for shape in shapes], np.dtype(precision)
        self.hits = self.misses = 0
        self._verified, self._said = set[str](), set[str]()
        write_json(self.folder / "about.json", facts)

    @property
    def bytes_per_image(self) -> int:
        """Size of a file, but for its header of 128 bytes and its checksum."""
        return sum(math.prod(shape) for shape in self.shapes) * self.dtype.itemsize

    def demand(self, images: int) -> str:
        """What so many images need, in words.

        Raises:
            InputError: the disk has not that much left.
        """
        need = images * self.bytes_per_image
        held = sum(file.stat().st_size for file in self.folder.glob("*/*.npy"))
        free = shutil.disk_usage(self.folder).free
        said = f"features of up to {images} images need {_spell(need)} in {self.folder}"
        if need - held > free:
            raise InputError(
                f"{said}, where {_spell(free)} are free; make room, set TRANSMODAL_CACHE to a larger disk, "
                "take encoder_cache = 'float16' or a smaller encoder_size, or leave encoder_cache out"
            )
        if need > free:
            warn(f"{said}: that fits only if the {_spell(held)} that are there are of the same images")
        return f"{said}; {_spell(held)} are there already, {_spell(free)} are free"

    def recall(self, image: Tensor, compute: Callable[[Tensor], list[Tensor]]) -> list[Tensor]:
        """The maps (1, C, X, Y) of one image, read or computed.

        Raises:
            InputError: values that half precision cannot hold.
        """
        path = self._path(image)
        stored = self._read(path)
        if stored is None:
            self.misses += 1
            maps = compute(image)
            stored = self._stored(maps)
            buffer = io.BytesIO()
            np.save(buffer, stored, allow_pickle=False)
            content = buffer.getvalue()
            write_bytes(path, content + _checksum(content))
        else:
            self.hits += 1
        # What comes back is always what the file holds, so that the first epoch equals the second.
        flat = torch.from_numpy(np.array(stored)).to(image.device).float()
        parts = flat.split([math.prod(shape) for shape in self.shapes])
        return [part.view(1, *shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def _path(self, image: Tensor) -> Path:
        values = image.detach().float().cpu().contiguous()
        digest = hashlib.blake2b(str(tuple(values.shape)).encode(), digest_size=20)
        digest.update(values.numpy().tobytes())
        name = digest.hexdigest()
        return self.folder / name[:2] / f"{name[2:]}.npy"

    def _read(self, path: Path) -> np.ndarray | None:
        """The values of a file, memory-mapped; None where there is none, or it is damaged."""
        try:
            if path.stem not in self._verified:
                content = path.read_bytes()
                if content[-_CHECKSUM:] != _checksum(content[:-_CHECKSUM]):
                    raise ValueError("its checksum is another")
                self._verified.add(path.stem)
            return np.load(path, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, EOFError) as problem:
            self._say_once(f"{path}: is damaged ({problem}); it and others like it are computed anew", "damaged")
            return None

    def _say_once(self, sentence: str, kind: str) -> None:
        if kind not in self._said:
            warn(sentence)
            self._said.add(kind)

    def _stored(self, maps: Sequence[Tensor]) -> np.ndarray:
        flat = torch.cat([values.detach().float().reshape(-1) for values in maps]).cpu().numpy()
        # Not a number is no smaller than anything.
        if self.dtype == np.float16 and not np.abs(flat).max() < _LARGEST:
            raise InputError(
                f"features reach {np.abs(flat).max():.3g}, which half precision cannot hold; "
                "set encoder_cache = 'float32'"
            )
        stored = flat.astype(self.dtype)
        if self.dtype == np.float16:
            self._measure(flat, stored)
        return stored

    def _measure(self, flat: np.ndarray, stored: np.ndarray) -> None:
        """Say so where rounding costs more than it should: a few loud channels are enough."""
        ends = np.cumsum([math.prod(shape) for shape in self.shapes])[:-1]
        for exact, kept in zip(np.split(flat, ends), np.split(stored, ends), strict=True):
            error = float(np.abs(kept - exact).max() / max(exact.std(), 1e-12))
            if error > _TOLERANCE:
                self._say_once(
                    f"half precision changes features by up to {error:.2g} of their deviation, where "
                    f"{_TOLERANCE:g} is what it should cost; set encoder_cache = 'float32' to keep them exactly",
                    "rounded",
                )


def _checksum(content: bytes) -> bytes:
    return zlib.crc32(content).to_bytes(_CHECKSUM, "little")


def _spell(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
