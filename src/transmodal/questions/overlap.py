"""The verb ``overlap``: does a segmenter find in synthetic scans what it finds in measured ones?

The segmenter is whoever made the label maps: one folder of what it found in synthetic scans, one of what it found
in measured ones, and, if there are, what a person has drawn.

::

    overlap.csv    Dice, HD95 and volume of every case and label;  overlap.json  means with intervals
    overlap.md     the table;  overlap.html  one page with a chart
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from transmodal import progress
from transmodal.data.files import check_folder, strict, write_json, write_text
from transmodal.data.layout import subject_of
from transmodal.data.volume import read_volume
from transmodal.errors import InputError, PartialFailure
from transmodal.evaluation.opened import on_one_grid
from transmodal.evaluation.overlap import dice, hausdorff95
from transmodal.evaluation.pairs import label_maps
from transmodal.evaluation.people import by_subject, shared
from transmodal.evaluation.regions import region_names, united
from transmodal.evaluation.table import Row, write_rows
from transmodal.reporting.overlap import Overlaps, overlap_facts, overlap_markdown, overlap_page

SYNTHETIC, REAL = "synthetic", "real"


def overlap(
    synthetic: Path, real: Path, out: Path, *, truth: Path | None = None, names: Path | None = None
) -> str:
    """Compare label maps, label by label.

    Args:
        synthetic: what a segmenter found in synthetic scans: a folder of ``<case>.nii.gz`` (also ``_seg``,
            ``_dseg``, ``_labels``), or a dataset or table with label maps.
        real: what it found in the measured scans of the same cases.
        out: folder to write.
        truth: what was drawn by hand. Without it, ``real`` is the reference; with it, both are compared with it,
            so the loss by synthesis stands beside what the segmenter misses anyway.
        names: table of labels and names.

    Returns:
        The Markdown of overlap.md.

    Raises:
        InputError: no case in common, or none could be compared.
        PartialFailure: some cases failed; the others are written.
    """
    check_folder(out)
    known = {} if names is None else region_names(names)
    folders = {SYNTHETIC: synthetic, REAL: real} | ({} if truth is None else {"truth": truth})
    maps = {name: _maps(folder) for name, folder in folders.items()}
    cases = sorted(set.intersection(*(set(found) for found in maps.values())))
    if not cases:
        raise InputError(f"{synthetic}: none of its cases ({_few(maps[SYNTHETIC])}) has the same name in {real} "
                         f"({_few(maps[REAL])}); the names of the files must be those of the cases")  # fmt: skip
    rows: list[Row] = []
    failures: dict[str, str] = {}
    for case in progress.track(cases, "comparing"):
        try:
            rows += _compared(case, {name: found[case] for name, found in maps.items()}, known)
        except InputError as problem:
            failures[case] = str(problem)
    if not rows:
        raise InputError("; ".join(list(failures.values())[:3]) or "every label map is empty")
    left = sorted(set().union(*maps.values()) - set(cases))
    notes = [f"{len(left)} cases are not in every folder and were left out: {_few(left)}."] if left else []
    people = shared({case: subject_of(case) for case in cases})
    found = Overlaps(
        by_subject(rows, people), "truth" if truth is not None else REAL, [*notes, *failures.values()]
    )
    facts, text, page = strict(overlap_facts(found)), overlap_markdown(found), overlap_page(found)
    write_rows(out / "overlap.csv", rows)
    write_json(out / "overlap.json", facts)
    write_text(out / "overlap.md", text)
    write_text(out / "overlap.html", page)
    if failures:
        raise PartialFailure(f"{len(failures)} cases failed: {'; '.join(failures.values())}", failures)
    return text


def _maps(folder: Path) -> dict[str, Path]:
    found = label_maps(folder, ())
    if not found:
        raise InputError(f"{folder}: holds no label map; give a folder of <case>.nii.gz, a dataset or a table")
    return found


def _compared(case: str, files: Mapping[str, Path], names: Mapping[int, str]) -> list[Row]:
    """Dice, HD95 and volumes of one case."""
    volumes = {name: read_volume(path, label=True) for name, path in files.items()}
    reference = "truth" if "truth" in volumes else REAL
    turned = {name: on_one_grid(volume, volumes[reference])[0] for name, volume in volumes.items()}
    maps = {name: volume.data[0] for name, volume in turned.items()}
    spacing = turned[reference].grid.spacing
    millilitres = float(np.prod(spacing)) / 1000
    found = sorted({int(code) for map_ in maps.values() for code in np.unique(map_)})
    rows = []
    for region, codes in united(found, names).items():
        true = np.isin(maps[reference], codes)
        for name, map_ in maps.items():
            made = np.isin(map_, codes)
            n = int(made.sum())
            rows.append(Row(case, name, region, "Volume", "3d", n * millilitres, "ml", n))
            if name != reference:
                convention = f"3d against {reference}"
                distance = hausdorff95(made, true, spacing)
                rows.append(Row(case, name, region, "Dice", convention, dice(made, true), "1", n))
                rows.append(Row(case, name, region, "HD95", f"{convention} surfaces", distance, "mm", n))
    return rows


def _few(names: Sequence[str] | Mapping[str, Path]) -> str:
    return ", ".join(list(names)[:4]) + " …" * (len(names) > 4)
