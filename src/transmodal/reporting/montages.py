"""Which cases are shown, and the montage of one: its files are opened, a few slices read, and let go."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from transmodal.errors import InputError
from transmodal.evaluation.table import Row
from transmodal.metrics import METRICS
from transmodal.reporting.figures import Column, Scale, montage
from transmodal.reporting.folder import Manifest, Shown
from transmodal.reporting.slices import Picture, Scan, View, choose_view, open_scan, read_mask
from transmodal.reporting.tables import FLOORS, order


@dataclass(frozen=True)
class Chosen:
    """A case that is shown.

    Attributes:
        shown: its files.
        why: such as ``best MAE``; empty for one of the first.
    """

    shown: Shown
    why: str


def choose_cases(cases: Sequence[Shown], rows: Sequence[Row], method: str | None, first: int) -> list[Chosen]:
    """The best, the median and the worst case by the first metric, then the ``first`` ones of the list.

    A case is shown once. Without a metric whose better side is known, only the first ones are.
    """
    named = {shown.case: shown for shown in cases}
    picked: dict[str, list[str]] = {}
    ranks = {name for name, metric in METRICS.items() if metric.higher_is_better is not None}
    lead = next((row for row in rows if row.method == method and row.metric in ranks), None)
    if lead is not None and len(named) > first:
        key = (lead.method, lead.region, lead.metric)
        ranked = sorted(
            (row.value if METRICS[lead.metric].higher_is_better else -row.value, row.case)
            for row in rows
            if (row.method, row.region, row.metric) == key and row.case in named and not math.isnan(row.value)
        )
        if ranked:
            for word, place in (("best", -1), ("median", len(ranked) // 2), ("worst", 0)):
                picked.setdefault(ranked[place][1], []).append(word)
    why = {case: f"{' and '.join(words)} {lead.metric}" for case, words in picked.items() if lead}
    for shown in cases[:first]:
        why.setdefault(shown.case, "")
    return [Chosen(named[case], words) for case, words in why.items()]


def draw(shown: Shown, manifest: Manifest, count: int) -> tuple[bytes | None, list[str]]:
    """The montage of one case, and a sentence for each file that could not be shown.

    Args:
        shown: the files.
        manifest: target, unit and window.
        count: slices.
    """
    notes: list[str] = []
    anchor = _anchor(shown)
    if anchor is None:
        return None, [f"{shown.case}: none of its images is there; it is not shown."]
    view = choose_view(anchor.grid.shape, _mask(shown, anchor, notes), count)
    sources, reference, made = _read(shown, anchor, view, notes)
    if not (sources or made or reference):
        return None, notes
    window = manifest.window or _own_window(reference or next(iter([*made.values(), *sources.values()])), view)
    if manifest.window is None:
        notes.append(
            f"{shown.case}: the manifest fixes no window; this case is drawn from its 1st to its 99th percentile."
        )
    columns = [Column(name, pictures, _own_window(pictures, view)) for name, pictures in sources.items()]
    if reference:
        columns.append(Column(f"{manifest.target} (reference)", reference, window))
    for name in order(list(made)):
        errors = _errors(made[name], reference, view)
        title = f"{name} (floor)" if name in FLOORS else name
        columns.append(Column(title, made[name], window, errors or None))
    heights = [anchor.millimetres(level) for level in view.levels]
    scale = Scale(manifest.target, manifest.unit, window)
    return montage(columns, heights, anchor.grid.spacing[:2], scale), notes


def _anchor(shown: Shown) -> Scan | None:
    """The volume whose grid the others must share: the reference, else a prediction, else a source."""
    for path in (shown.reference, *shown.predictions.values(), *shown.sources.values()):
        if path is not None:
            try:
                return open_scan(path)
            except InputError:
                continue  # read again below, where the sentence is written
    return None


def _mask(shown: Shown, anchor: Scan, notes: list[str]) -> np.ndarray | None:
    if shown.mask is None:
        notes.append(f"{shown.case}: has no mask; slices are spread through the whole volume.")
        return None
    try:
        mask = read_mask(shown.mask)
    except InputError as problem:
        notes.append(_sentence(shown, problem))
        return None
    if mask.shape == anchor.grid.shape:
        return mask
    notes.append(f"{shown.case}: its mask lies on another grid ({mask.shape}) and is not used.")
    return None


def _read(
    shown: Shown, anchor: Scan, view: View, notes: list[str]
) -> tuple[dict[str, list[Picture]], list[Picture], dict[str, list[Picture]]]:
    """Slices of sources, reference and predictions; one file at a time."""

    def pictures(path: Path | None) -> list[Picture]:
        if path is None:
            return []
        try:
            scan = open_scan(path)
            if not scan.grid.same_as(anchor.grid):
                notes.append(f"{shown.case}: {path.name} lies on another grid and is not shown.")
                return []
            return [view.crop(scan.axial(level)) for level in view.levels]
        except InputError as problem:
            notes.append(_sentence(shown, problem))
            return []

    sources = {name: found for name, path in shown.sources.items() if (found := pictures(path))}
    reference = pictures(shown.reference)
    made = {name: found for name, path in shown.predictions.items() if (found := pictures(path))}
    return sources, reference, made


def _errors(made: Sequence[Picture], reference: Sequence[Picture], view: View) -> list[np.ndarray]:
    """Prediction - reference for each slice, the mean over the channels of colour; NaN outside the mask."""
    if not reference or made[0].ndim != reference[0].ndim:
        return []
    maps = [p - r if p.ndim == 2 else (p - r).mean(axis=-1) for p, r in zip(made, reference, strict=True)]
    if view.inside is None:
        return maps
    return [np.where(inside, error, np.float32(np.nan)) for error, inside in zip(maps, view.inside, strict=True)]


def _own_window(pictures: Sequence[Picture], view: View) -> tuple[float, float]:
    """1st to 99th percentile of what is shown, in the mask where there is one."""
    inside = view.inside or (None,) * len(pictures)
    parts = [p[m] if m is not None else p.ravel() for p, m in zip(pictures, inside, strict=True) if p.ndim == 2]
    values = np.concatenate(parts) if parts else np.zeros(0)
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values, (1, 99))
    return (float(low), float(high)) if low < high else (float(low), float(low) + 1.0)


def _sentence(shown: Shown, problem: InputError) -> str:
    return f"{shown.case}: {problem}."
