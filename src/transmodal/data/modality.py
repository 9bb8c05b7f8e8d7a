"""Modality: what a named volume measures. The one place that knows units and physical ranges by name.

A name that is not listed is taken for a scan in arbitrary units, so any contrast works without a change here.
"""

from dataclasses import dataclass

from transmodal.data.names import can_be_file


@dataclass(frozen=True)
class Modality:
    """What a volume measures.

    Attributes:
        name: the word used in tables, recipes and file names.
        unit: ``HU``, ``1`` (a ratio such as FA), ``RGB``, or ``a.u.``.
        window: the physical range, or None where the scale is arbitrary and must be fitted.
        channels: 1, or 3 for colour.
        dtype: how a synthesised volume of this kind is stored.
    """

    name: str
    unit: str = "a.u."
    window: tuple[float, float] | None = None
    channels: int = 1
    dtype: str = "float32"


_TAKEN = ("case", "mask", "labels", "subject", "split")
_KNOWN = {
    "CT": Modality("CT", unit="HU", window=(-1024.0, 3071.0), dtype="int16"),
    "FA": Modality("FA", unit="1", window=(0.0, 1.0)),
    "cryo": Modality("cryo", unit="RGB", window=(0.0, 255.0), channels=3, dtype="rgb"),
}


def unusable(name: str) -> str:
    """Why a word cannot name a modality, which becomes part of file names; empty if it can."""
    if not can_be_file(name):
        return "it becomes a file's name; use letters, digits, - and _"
    if name in _TAKEN:
        return "that name is taken; call it something else"
    return ""


def modality(name: str) -> Modality:
    """The modality called ``name``; ``T1w``, ``T2w``, ``PDw``, ``FLAIR``, ``T1c`` … are in arbitrary units."""
    return _KNOWN.get(name, Modality(name))
