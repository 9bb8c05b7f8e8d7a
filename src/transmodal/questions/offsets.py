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


@dataclass(frozen=True, eq=False)
class Answer:
    """What the routers of one run answered to one shift.

    Attributes:
        run: whose networks.
        shift: along the networks' axes, in voxels of the image.
        learned: the offsets.
    """

    run: str
    shift: np.ndarray
    learned: Learned


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
        size: voxels of the tiles that it gets, along the axes that its networks see; empty to hear nothing.
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
        if isinstance(module, Router) and size
    ]
    try:
        yield learned
    finally:
        for hook in hooks:
            hook.remove()
        learned.update({name: np.mean(offsets, axis=0) for name, offsets in found.items()})


def follow(method: str, source: str, answers: list[Answer]) -> list[Follows]:
    """Every layer and group against the shift of ``source``.

    A group's mean offset, which may differ by axis and by run, is no answer to a shift; r and the slope are of
    what varies around it.
    """
    if not answers:
        return []
    runs = [answer.run for answer in answers]
    shifts = _centred(np.array([answer.shift for answer in answers]), runs).ravel()
    rows = []
    for layer in answers[0].learned:
        offsets = np.array([answer.learned[layer] for answer in answers])
        for group in range(offsets.shape[1]):
            own = _centred(offsets[:, group], runs).ravel()
            moved, answered = float(shifts @ shifts), float(own @ own)
            both = float(shifts @ own)
            r = both / math.sqrt(moved * answered) if moved > 0 and answered > 0 else math.nan
            rows.append(Follows(method, layer, group, source, r, both / moved if moved else math.nan, len(own)))
    return rows


def _centred(values: np.ndarray, runs: list[str]) -> np.ndarray:
    """Less the mean of each axis over the answers of the same run."""
    centred = np.array(values, dtype=float)
    for run in set(runs):
        own = np.array([name == run for name in runs])
        centred[own] -= centred[own].mean(axis=0)
    return centred


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
