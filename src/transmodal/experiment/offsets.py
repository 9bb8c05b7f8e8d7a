"""Offsets: what the routers of rolled convolutions answer, beside the shift that was applied to a source.

From the specification of AGI-Net's robustness: if groups were moved to undo a misalignment, the offset of some
group, counted in voxels of the image, would follow the shift with slope 1.
"""

import csv
import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from transmodal.data.files import write_text
from transmodal.methods._method import Method
from transmodal.nn.cagr import Router

Learned = dict[str, np.ndarray]
"""Name of a layer → mean offset of its groups, (G, S), in voxels of the image."""


@dataclass(frozen=True)
class Follows:
    """How the offset of one group goes with the shift of one source, over cases, draws and axes.

    Attributes:
        method: label of the run.
        layer: name of the router.
        group: its number.
        source: which was shifted.
        r: Pearson's; NaN where nothing varies.
        slope: offset per shift, both in voxels of the image; 1 would undo it.
        n: pairs of numbers.
    """

    method: str
    layer: str
    group: int
    source: str
    r: float
    slope: float
    n: int


@contextmanager
def watched(method: Method, size: tuple[int, ...]) -> Iterator[Learned]:
    """Collect the offsets of every router while volumes are translated inside the block.

    Args:
        method: whose routers.
        size: voxels of the tiles that it gets, along the axes that its networks see.
    """
    assert isinstance(method, nn.Module)
    found: dict[str, list[np.ndarray]] = {}
    learned: Learned = {}

    def note(name: str, inputs: tuple[Any, ...], answer: tuple[Any, ...]) -> None:
        coarse = np.array(size) / np.array(inputs[0].shape[2:])
        found.setdefault(name, []).extend(answer[0].float().cpu().numpy() * coarse)

    hooks = [
        module.register_forward_hook(lambda _, inputs, answer, name=name: note(name, inputs, answer))
        for name, module in method.named_modules()
        if isinstance(module, Router)
    ]
    try:
        yield learned
    finally:
        for hook in hooks:
            hook.remove()
        learned.update({name: np.mean(offsets, axis=0) for name, offsets in found.items()})


def follow(method: str, source: str, pairs: list[tuple[np.ndarray, Learned]]) -> list[Follows]:
    """Every layer and group against the shift of ``source``.

    Args:
        method: label.
        source: which was shifted.
        pairs: the shift along the networks' axes in voxels, and what was learned.
    """
    if not pairs:
        return []
    shifts = np.array([shift for shift, _ in pairs]).ravel()
    rows = []
    for layer in pairs[0][1]:
        offsets = np.array([learned[layer] for _, learned in pairs])
        for group in range(offsets.shape[1]):
            own = offsets[:, group].ravel()
            # A group's mean offset is no answer to a shift: r and the slope are about what varies.
            varies = shifts.std() > 0 and own.std() > 0
            r = float(np.corrcoef(shifts, own)[0, 1]) if varies else math.nan
            slope = float(np.polyfit(shifts, own, 1)[0]) if shifts.std() > 0 else math.nan
            rows.append(Follows(method, layer, group, source, r, slope, len(own)))
    return rows


def write_offsets(path: Path, rows: list[Follows]) -> None:
    """A CSV table with a row for every layer and group."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([f.name for f in fields(Follows)])
    table.writerows(astuple(row) for row in rows)
    write_text(path, text.getvalue())


def offsets_table(rows: list[Follows]) -> str:
    """Markdown: of every method and source, the three groups that follow the shift most closely."""
    lines = ["| method | moved | layer | group | r | slope | n |", "|---|---|---|---:|---:|---:|---:|"]
    for key in dict.fromkeys((row.method, row.source) for row in rows):
        own = [row for row in rows if (row.method, row.source) == key and not math.isnan(row.r)]
        for row in sorted(own, key=lambda row: -abs(row.r))[:3]:
            lines.append(
                f"| {row.method} | {row.source} | {row.layer} | {row.group} "
                f"| {row.r:+.2f} | {row.slope:+.4f} | {row.n} |"
            )
    return "\n".join(lines)
