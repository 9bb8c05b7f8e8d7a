"""Price: what a method costs in weights, arithmetic, time and memory. It stands beside its scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from transmodal.schema import coerce, make


@dataclass(frozen=True)
class Price:
    """What a method cost on the machine of its run.

    Attributes:
        parameters: weights that translating needs.
        gmac: 10⁹ multiply-accumulates of one translated sample; None where they cannot be counted.
        sample: voxels of that sample along its spatial axes, as in training.
        steps: updates of every player.
        training_seconds: spent on them, validation left out.
        training_bytes: the most memory that the process (or the CUDA device) held until training ended.
        machine: what it was made on, in words; empty where it is not known.
        volume_seconds: median over the judged cases, from prepared sources to a volume in physical units.
    """

    parameters: int
    gmac: float | None
    sample: tuple[int, ...]
    steps: int
    training_seconds: float
    training_bytes: int
    machine: str = ""
    volume_seconds: float | None = None


def known_price(evaluation: Mapping[str, Any], method: str) -> Price | None:
    """The price of a method in an ``evaluation.json``; None where no run wrote it."""
    settings = coerce(evaluation.get("settings") or {}, Mapping[str, Any], "evaluation.json: settings")
    found = settings.get("price")
    if not isinstance(found, dict):
        return None
    known = make(Price, found, "evaluation.json: price")
    where = "evaluation.json: settings.seconds_per_volume"
    spent = coerce(settings.get("seconds_per_volume") or {}, Mapping[str, float | None], where)
    return replace(known, volume_seconds=spent.get(method))


def median_price(prices: Sequence[Price]) -> Price:
    """Of several runs of one recipe: the medians of what was measured; the rest is that of the first."""
    spent = [known.volume_seconds for known in prices if known.volume_seconds is not None]
    return replace(
        prices[0],
        training_seconds=median(known.training_seconds for known in prices),
        training_bytes=int(median(known.training_bytes for known in prices)),
        volume_seconds=median(spent) if spent else None,
    )
