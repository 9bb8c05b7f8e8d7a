"""Intensity: what a network sees is an affine function of the scan's own values, and it can be undone.

``window`` and ``percentile`` map [low, high] to [-1, 1] and clip; ``zscore`` gives (value - mean) / sd, unclipped.
A physical quantity (HU, FA, colour) has a fixed window, so its units survive; a scan in arbitrary units is fitted
to its own foreground.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Shaped

from transmodal.data.modality import modality
from transmodal.data.percentiles import percentiles
from transmodal.errors import InputError, RecipeError, nearest

KINDS = ("window", "percentile", "zscore")
_FORMAT = "transmodal.intensity/1"
_MOST = 1e30
_KEY = "data.prepare.intensity"


@dataclass(frozen=True)
class IntensitySpec:
    """How a modality is normalised.

    Attributes:
        kind: ``window`` (fixed physical limits), ``percentile`` (limits fitted to each image) or ``zscore``.
        low: the lower limit, in the image's units for a window and in percent for percentiles.
        high: the upper limit.
    """

    kind: str = "percentile"
    low: float = 0.5
    high: float = 99.5

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise RecipeError(f"kind = {self.kind!r} is not a way to normalise{nearest(self.kind, KINDS)}")
        if self.kind == "zscore":
            return
        if not self.low < self.high:
            raise RecipeError(f"low = {self.low:g}, high = {self.high:g}: low must be below high")
        if self.kind == "percentile" and not (self.low >= 0 and self.high <= 100):
            raise RecipeError(f"low = {self.low:g}, high = {self.high:g}: percentiles lie between 0 and 100")


def spec_for(name: str, override: Mapping[str, Any] | str | None = None) -> IntensitySpec:
    """How the modality ``name`` is normalised.

    Args:
        name: a modality; one with a physical window uses it, any other its 0.5 and 99.5 percentiles.
        override: a kind, or a table with ``kind``, ``low`` and ``high`` (each optional).

    Raises:
        RecipeError: an unknown key or kind, or limits that make no sense.
    """
    window = modality(name).window
    table = {"kind": override} if isinstance(override, str) else dict(override or {})
    for key in table:
        if key not in ("kind", "low", "high"):
            raise RecipeError(f"{_KEY}.{name}.{key}: no such key{nearest(key, ('kind', 'low', 'high'))}")
    default = "window" if window else "percentile"
    kind = table.setdefault("kind", default)
    if kind == "window" and window:
        table = {"low": window[0], "high": window[1], **table}
    if kind == "window" and not {"low", "high"} <= set(table):
        raise RecipeError(f"{_KEY}.{name}: {name} has no physical window; give low and high, or another kind")
    for key in ("low", "high"):
        if key in table and (isinstance(table[key], bool) or not isinstance(table[key], int | float)):
            raise RecipeError(f"{_KEY}.{name}.{key} = {table[key]!r}: give a number")
    try:
        limits = {key: float(table[key]) for key in ("low", "high") if key in table}
        return IntensitySpec(str(kind), **limits)
    except RecipeError as problem:
        raise RecipeError(f"{_KEY}.{name}: {problem}") from None


@dataclass(frozen=True)
class IntensityFit:
    """A spec fitted to one image, or to a cohort: normalised = clip((value - shift) / scale).

    Attributes:
        kind: as in :class:`IntensitySpec`.
        shift: the value that becomes 0, in the image's units.
        scale: what becomes 1, in the image's units; positive.
        low: lower clip limit in normalised units, or None.
        high: upper clip limit in normalised units, or None.
    """

    kind: str
    shift: float
    scale: float
    low: float | None = None
    high: float | None = None

    @property
    def bounded(self) -> bool:
        """Whether normalised values lie in [-1, 1]."""
        return self.low is not None

    @property
    def background(self) -> float:
        """The normalised value of empty space: the lower clip limit, or what the value 0 becomes."""
        return self.low if self.low is not None else -self.shift / self.scale

    @property
    def range(self) -> tuple[float, float] | None:
        """The values, in the image's units, that become -1 and 1; None for z-scores."""
        return (self.shift - self.scale, self.shift + self.scale) if self.bounded else None

    def apply(self, values: Shaped[np.ndarray, "*any"]) -> Float32[np.ndarray, "*any"]:
        """Normalise values of the image's units."""
        out = (values.astype(np.float32) - np.float32(self.shift)) * np.float32(min(1 / self.scale, _MOST))
        if self.low is not None and self.high is not None:
            np.clip(out, self.low, self.high, out=out)
        return out

    def invert(self, values: Shaped[np.ndarray, "*any"]) -> Float32[np.ndarray, "*any"]:
        """Back to the image's units; a window is never left, because no target beyond it was ever shown."""
        out = values.astype(np.float32)
        if self.low is not None and self.high is not None:
            np.clip(out, self.low, self.high, out=out)
        out *= np.float32(self.scale)
        out += np.float32(self.shift)
        return out

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"format": _FORMAT, **asdict(self)}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "IntensityFit":
        """From what :meth:`to_dict` gave.

        Raises:
            InputError: it is something else.
        """
        rest = dict(stored)
        stamp = rest.pop("format", None)
        if stamp != _FORMAT or set(rest) != {"kind", "shift", "scale", "low", "high"}:
            raise InputError(f"an intensity fit is expected (format {_FORMAT!r}), but format {stamp!r} was found")
        limits = [rest[key] for key in ("low", "high") if rest[key] is not None]
        numbers = [rest["shift"], rest["scale"], *limits]
        # float32 is what they are used in; NaN is below nothing.
        whole = all(isinstance(n, int | float) and abs(n) < _MOST for n in numbers)
        if not whole or not rest["scale"] > 0:
            raise InputError(
                f"an intensity fit is expected, but {rest} was found; the file was changed or damaged"
            )
        return cls(**rest)


def fit(spec: IntensitySpec, inside: Shaped[np.ndarray, " N"], name: str) -> IntensityFit:
    """Fit a spec to one image.

    Args:
        spec: how to normalise.
        inside: the values that count, in the image's own units.
        name: for messages.

    Raises:
        InputError: no voxel counts, or all that count have one value.
    """
    if inside.size == 0:
        raise InputError(f"{name}: no voxel lies in the mask; check that mask and image cover the same place")
    if inside.min() == inside.max():
        raise InputError(
            f"{name}: every voxel in the mask is {inside[0]:g}, so there is no contrast; "
            "check the image and the mask"
        )
    if spec.kind == "zscore":
        mean, sd = float(inside.mean(dtype=np.float64)), float(inside.std(dtype=np.float64))
        return IntensityFit("zscore", mean, sd)
    low, high = spec.low, spec.high
    if spec.kind == "percentile":
        low, high = (float(p) for p in percentiles(inside, (spec.low, spec.high)))
        if low == high:
            raise InputError(
                f"{name}: its {spec.low:g} and {spec.high:g} percentiles in the mask are both {low:g}; "
                f"set {_KEY} to wider percentiles, or check the mask"
            )
    return IntensityFit(spec.kind, (low + high) / 2, (high - low) / 2, -1.0, 1.0)


def pool(fits: Sequence[IntensityFit]) -> IntensityFit:
    """The fit of a cohort: the median shift and scale; gives a synthesised image its units.

    Raises:
        ValueError: no fits, or of different kinds.
    """
    kinds = {f.kind for f in fits}
    if len(kinds) != 1:
        raise ValueError(f"fits of one kind are needed, got {sorted(kinds) or 'none'}")
    shift = float(np.median([f.shift for f in fits]))
    scale = float(np.median([f.scale for f in fits]))
    return IntensityFit(fits[0].kind, shift, scale, fits[0].low, fits[0].high)
