"""Spectra: which frequencies an encoder's features hold, beside those of the U-Net's own stages.

MRNet (https://arxiv.org/abs/2412.03039) builds on the claim that features of Segment Anything are rich in low
frequencies, and shows no measurement. Each tap is compared with the U-Net's stage on the same grid, or on the next
finer one up to the frequencies that the tap's grid can hold, and both with what they are before any training.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from transmodal.evaluation.statistics import holm, paired
from transmodal.evaluation.table import Row
from transmodal.nn.encoder import FeatureMap
from transmodal.nn.spectrum import log_amplitude, low_frequency_ratio
from transmodal.questions.taps import Heard
from transmodal.reporting.curves import Curve, spread

RADIUS, RINGS, SMALLEST = 0.25, 8, 8
"""What low means, as a share of the band; points of a curve; the shortest edge of a map that is measured."""
ENCODER, STAGE = "encoder", "U-Net"


@dataclass(frozen=True, eq=False)
class Content:
    """Frequencies of one tap or stage in one case, means over its slices.

    Attributes:
        case: name of the case.
        who: ``encoder`` or ``U-Net``, with ``, untrained`` where it is.
        tap: number of the encoder's map whose grid it is, from 1, with its stride.
        low: share of energy at low frequencies.
        curve: Δ log amplitude in rings.
        slices: how many.
    """

    case: str
    who: str
    tap: str
    low: float
    curve: Float[np.ndarray, " rings"]
    slices: int


def contents(case: str, heard: Heard, suffix: str = "") -> list[Content]:
    """Every tap, and the stage beside it; maps below 8 voxels are too small to say anything and are left out."""
    found = []
    for name, tap in _taps(heard):
        if min(tap.values.shape[2:]) < SMALLEST:
            continue
        found.append(_content(case, ENCODER + suffix, name, tap, tap))
        stages = [s for s in _over_batches(heard.stages) if s.stride <= tap.stride * 1.001]
        if stages:
            found.append(_content(case, STAGE + suffix, name, stages[-1], tap))
    return found


def left_out(heard: Heard) -> list[str]:
    """The taps that are too small, in words."""
    sizes = {name: list(tap.values.shape[2:]) for name, tap in _taps(heard)}
    small = {name: size for name, size in sizes.items() if min(size) < SMALLEST}
    why = f"and is left out: below {SMALLEST} voxels frequencies say nothing"
    return [f"{name} has maps of {rows} x {columns} {why}" for name, (rows, columns) in small.items()]


def _taps(heard: Heard) -> list[tuple[str, FeatureMap]]:
    maps = _over_batches(heard.encoder)
    return [(f"tap {number} (stride {tap.stride:g})", tap) for number, tap in enumerate(maps, start=1)]


def _over_batches(batches: Sequence[Sequence[FeatureMap]]) -> list[FeatureMap]:
    return [FeatureMap(torch.cat([m.values for m in maps]), maps[0].stride) for maps in zip(*batches, strict=True)]


def _content(case: str, who: str, tap: str, given: FeatureMap, coarse: FeatureMap) -> Content:
    grid = (coarse.values.shape[2], coarse.values.shape[3])
    lows = [float(low_frequency_ratio(sample, RADIUS, grid)) for sample in given.values]
    curves = [log_amplitude(sample, RINGS, grid).numpy() for sample in given.values]
    return Content(case, who, tap, float(np.mean(lows)), np.mean(curves, axis=0), len(lows))


def rows(found: Sequence[Content]) -> list[Row]:
    """The shares as rows of a tidy table."""
    words = f"radius={RADIUS:g} of the grid's Nyquist"
    return [Row(c.case, c.who, c.tap, "LowFrequencyRatio", words, c.low, "1", c.slices) for c in found]


def charts(found: Sequence[Content]) -> dict[str, dict[str, Curve]]:
    """Tap → who → Δ log amplitude against frequency."""
    made: dict[str, dict[str, Curve]] = {}
    middles = tuple((ring + 0.5) / RINGS for ring in range(RINGS))
    for tap, who in dict.fromkeys((c.tap, c.who) for c in found):
        own = [c for c in found if (c.tap, c.who) == (tap, who)]
        values = np.stack([c.curve for c in own], axis=1)
        made.setdefault(tap, {})[who] = Curve(middles, tuple(c.case for c in own), values)
    return made


def table(found: Sequence[Content]) -> str:
    """Markdown: shares of low frequencies, and the encoder's less each other's, case by case."""
    lows: dict[tuple[str, str], dict[str, float]] = {}
    for c in found:
        lows.setdefault((c.tap, c.who), {})[c.case] = c.low
    tests = {
        key: paired(others, lows[key[0], ENCODER]) for key, others in lows.items() if key[1] != ENCODER
    }  # fmt: skip
    corrected = dict(zip(tests, holm([test.p for test in tests.values()]), strict=True))
    lines = [
        "| grid | features | n | low frequencies | encoder less these | p (Holm) |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for (tap, who), values in lows.items():
        key = (tap, who)
        less, p = "", ""
        if key in tests:
            less = spread(np.array([lows[tap, ENCODER][case] - value for case, value in values.items()]))
            p = f"{corrected[key]:.3f}"
        lines.append(
            f"| {tap} | {who} | {len(values)} | {spread(np.array(list(values.values())))} | {less} | {p} |"
        )
    return "\n".join(lines)
