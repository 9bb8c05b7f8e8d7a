"""Thrift: where tiles do not fit into memory, fewer at once, which changes nothing; then smaller ones."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from transmodal.errors import InputError
from transmodal.progress import warn

Thing = TypeVar("Thing")
_SIGNS = (
    "out of memory", "not enough memory", "bad_alloc", "failed to allocate", "cannot allocate memory",
    "is smaller than requested bytes",
)  # fmt: skip
"""What PyTorch, its allocators and ONNX Runtime say; only CUDA has an exception of its own for it."""
_LEAST = 16
"""Voxels along the edge of a tile that is still worth a try."""


@dataclass(frozen=True)
class Portion:
    """What is computed at once.

    Attributes:
        batch: tiles.
        size: voxels of a tile along X, Y, Z; 1 along the axis that slices are taken along.
    """

    batch: int
    size: tuple[int, int, int]

    def smaller(self, multiple: int) -> "Portion | None":
        """Half as many tiles, or tiles of half the longest edges; None where neither is left."""
        if self.batch > 1:
            return replace(self, batch=self.batch // 2)
        longest = max(self.size)
        half = max(_LEAST, longest // 2)
        half = -(-half // multiple) * multiple
        if half >= longest:
            return None
        x, y, z = (min(n, half) for n in self.size)
        return Portion(1, (x, y, z))

    def spell(self) -> str:
        """For people."""
        return f"{self.batch} tile{'s' if self.batch > 1 else ''} of {'×'.join(str(n) for n in self.size)} at once"


def frugally(work: Callable[[Portion], Thing], portion: Portion, multiple: int, case: str) -> Thing:
    """``work`` with the largest portion that fits into memory, from ``portion`` downwards.

    Args:
        work: may raise whatever its engine raises where memory is short; it then starts again with less.
        portion: what is tried first.
        multiple: every edge of a tile is a multiple of this.
        case: for messages.

    Returns:
        What ``work`` gave.

    Raises:
        InputError: not even one small tile fits.
    """
    while True:
        try:
            return work(portion)
        except Exception as problem:
            if not is_out_of_memory(problem):
                raise
            less = portion.smaller(multiple)
            if less is None:
                raise InputError(
                    f"{case}: the memory does not hold even {portion.spell()}; use another machine or --device cpu"
                ) from problem
        # Out of the block above, so that what the failed try held is let go.
        edges = (
            "" if less.size == portion.size else "; smaller tiles see less around them, expect small differences"
        )
        warn(f"{case}: the memory does not hold {portion.spell()}; going on with {less.spell()}{edges}")
        portion = less


def is_out_of_memory(problem: BaseException) -> bool:
    """Whether an engine says that memory is short, in whatever words."""
    if isinstance(problem, MemoryError) or type(problem).__name__ == "OutOfMemoryError":
        return True
    engines = isinstance(problem, RuntimeError) or type(problem).__module__.startswith("onnxruntime")
    return engines and any(sign in str(problem).lower() for sign in _SIGNS)
