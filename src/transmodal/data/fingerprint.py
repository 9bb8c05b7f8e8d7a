"""Fingerprint: what a cohort looks like, in numbers: grids on input, and intensities in the foreground."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Shaped

from transmodal.data.grid import Grid
from transmodal.data.percentiles import percentiles

PERCENTILES = (0.5, 5.0, 50.0, 95.0, 99.5)
FORMAT = "transmodal.fingerprint/2"


def describe(grid: Grid, values: Shaped[np.ndarray, "..."]) -> dict[str, Any]:
    """The facts of one image.

    Args:
        grid: as it was read, before reorientation.
        values: those that count, in the image's own units.

    Returns:
        ``spacing`` (mm), ``shape``, ``orientation``, ``percentiles`` (of :data:`PERCENTILES`), ``mean``, ``sd``.
    """
    return {
        "spacing": [round(s, 4) for s in grid.spacing],
        "shape": list(grid.shape),
        "orientation": grid.orientation,
        "percentiles": [float(p) for p in percentiles(values, PERCENTILES)],
        "mean": float(values.mean(dtype=np.float64)),
        "sd": float(values.std(dtype=np.float64)),
    }


def collect(cases: Sequence[tuple[str, dict[str, dict[str, Any]]]]) -> dict[str, Any]:
    """The fingerprint of a cohort.

    Args:
        cases: name of the case, and modality → what :func:`describe` gave.

    Returns:
        For JSON. Per modality ``n``, the facts of each case, and ``pooled``: the median over cases of each number
        and how often each orientation was seen.
    """
    modalities = list(dict.fromkeys(name for _, facts in cases for name in facts))
    out: dict[str, Any] = {"format": FORMAT, "percentiles": list(PERCENTILES), "n": len(cases), "modalities": {}}
    for modality in modalities:
        each = {case: facts[modality] for case, facts in cases if modality in facts}
        out["modalities"][modality] = {"n": len(each), "pooled": _pooled(list(each.values())), "cases": each}
    return out


def _pooled(facts: list[dict[str, Any]]) -> dict[str, Any]:
    pooled: dict[str, Any] = {
        key: np.median([f[key] for f in facts], axis=0).round(6).tolist()
        for key in ("spacing", "shape", "percentiles", "mean", "sd")
    }
    seen = [f["orientation"] for f in facts]
    pooled["orientation"] = {o: seen.count(o) for o in sorted(set(seen))}
    return pooled
