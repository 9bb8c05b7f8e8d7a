r"""Scores of single slices of runs' predictions, and tests between methods over slices: what is left for one body.

    python benchmarks/slices.py OUT/runs/* --out SLICES                    runs of a suite: NAME_fold0_seed0
    python benchmarks/slices.py whole=RUN_A less=RUN_B --out SLICES --every 20 --metrics MAE CIEDE2000

Every floor and method of a run that stored predictions is scored on the same slices, one each ``--every`` mm. The
first name is what the others are compared with: mean difference with its 95 % interval, Wilcoxon's signed-rank p
with Holm's correction. **Slices of one body are no independent subjects**, however far apart: a small p says that
a difference is the same all over these bodies, not that it holds for others. Rows go to SLICES/slices.csv.

Several seeds of a method are one method: the scores of a slice are averaged over them first. Metrics called
``NAME-input`` compare the grey of a prediction with the first source as it was shown, as a run's own table does.
"""

import argparse
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from transmodal import progress
from transmodal.data.files import read_json, write_text
from transmodal.data.volume import read_volume
from transmodal.errors import InputError, RecipeError
from transmodal.evaluation.statistics import holm, paired
from transmodal.evaluation.table import Row, write_rows
from transmodal.experiment.judge import shown_source
from transmodal.experiment.run import Run, open_run
from transmodal.metrics import METRICS
from transmodal.reporting.tables import FLOORS, p_value

_OF_SUITE = re.compile(r"_fold\d+_seed\d+$")
_SOME = 0.1
"""A slice is scored if it has at least this share of the mask's fullest."""


def label(word: str) -> tuple[str, Path]:
    name, equals, folder = word.rpartition("=")
    return (name, Path(folder)) if equals else (_OF_SUITE.sub("", Path(word).name), Path(word))


def chosen(mask: Tensor, spacing: float, every: float) -> list[int]:
    """Slices to score: those with enough of the mask, at least ``every`` mm apart."""
    counts = mask.sum(dim=(0, 1))
    full = torch.nonzero(counts >= _SOME * counts.max())[:, 0].tolist()
    return full[:: max(1, int(np.ceil(every / spacing - 1e-6)))]


def scores(name: str, run: Path, metrics: list[str], every: float) -> Iterator[Row]:
    """One row a slice, metric and method; floors keep their names."""
    record = run / "report.json"
    if not record.is_file():
        raise InputError(f"{run}: kept no predictions; train with evaluation.keep_predictions = true")
    manifest: dict[str, Any] = read_json(record)
    low, high = manifest["window"]
    own = [metric for metric in metrics if not METRICS[metric].against_input]
    others = [metric for metric in metrics if METRICS[metric].against_input]
    opened = open_run(run) if others else None
    for case in manifest["cases"]:
        whole = read_volume(run / case["mask"], label=True)
        mask = torch.from_numpy(whole.data[0] > 0)
        truth = torch.from_numpy(read_volume(run / case["reference"]).data)
        levels = chosen(mask, whole.grid.spacing[2], every)
        shown = torch.empty(0) if opened is None else first_source(opened, case["case"])
        for method, file in case["predictions"].items():
            made = torch.from_numpy(read_volume(run / file).data)
            called = method if method in FLOORS else name
            grey = (made.mean(dim=0, keepdim=True) - low) / (high - low)
            found = [
                *by_slice(made, truth, mask, levels, own, high - low),
                *by_slice(grey, shown, mask, levels, others, 1.0),
            ]
            for level, metric, how, value in found:
                n = int(mask[..., level].sum())
                yield Row(f"{case['case']} {level}", called, "slice", metric, how, value, "", n)


def first_source(run: Run, name: str) -> Tensor:
    """The first source of a case, from 0 to 1 of its window."""
    case, source = run.dataset.case(name), run.recipe.data.sources[0]
    images = {source: case.values(source)} if source in case.modalities else {}
    shown = shown_source(source, images, case)
    if shown is None:
        raise RecipeError(f"case {name}: has no {source} with a window; leave out metrics against the input")
    return torch.from_numpy(shown)


def by_slice(
    made: Tensor, truth: Tensor, mask: Tensor, levels: list[int], metrics: list[str], data_range: float
) -> Iterator[tuple[int, str, str, float]]:
    """Slice, metric, how it was computed, and value."""
    for z in levels:
        inside, x, y = (volume[..., z : z + 1] for volume in (mask, made, truth))
        for name in metrics:
            metric = METRICS[name]
            how = metric.convention(y, inside, f"range={data_range:.10g}")
            yield z, name, how, metric(x, y, inside, data_range=data_range)


def over_seeds(rows: Iterable[Row]) -> list[Row]:
    """The mean of all rows of one slice, method and metric."""
    found: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row.case, row.method, row.metric), []).append(row)
    return [replace(own[0], value=float(np.mean([row.value for row in own]))) for own in found.values()]


def table(rows: list[Row], metrics: list[str]) -> str:
    """Means, and every method against the first that is no floor."""
    names = list(dict.fromkeys(row.method for row in rows))
    first = next(name for name in names if name not in FLOORS)
    others = [name for name in names if name != first]
    lines = [
        f"| metric | method | slices | mean | less that of {first} [95 %] | p (Holm) |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for metric in metrics:
        found = {name: {r.case: r.value for r in rows if (r.method, r.metric) == (name, metric)} for name in names}
        lines.append(
            f"| {metric} | {first} | {len(found[first])} | {np.mean(list(found[first].values())):.4g} | | |"
        )
        changes = [paired(found[first], found[name]) for name in others]
        for name, change, p in zip(others, changes, holm([c.p for c in changes]), strict=True):
            ends = f" [{change.interval.low:+.4g}, {change.interval.high:+.4g}]" if change.interval else ""
            mean = np.mean(list(found[name].values()))
            lines.append(
                f"| {metric} | {name} | {change.n} | {mean:.4g} | {change.mean:+.4g}{ends} | {p_value(p)} |"
            )
    ways = Counter((row.metric, row.convention) for row in rows if row.method == first)
    lines += ["", *(f"- {metric}: {how} ({count} slices)" for (metric, how), count in ways.items())]
    return "\n".join(lines) + "\n"


def main(words: list[str], out: Path, metrics: list[str], every: float) -> str:
    named = [label(word) for word in words]
    if len({name for name, _ in named}) < 2:
        raise InputError("give runs of two methods or more: NAME=RUN OTHER=RUN")
    rows = over_seeds(
        row for name, run in progress.track(named, "slices") for row in scores(name, run, metrics, every)
    )
    text = table(rows, metrics)
    write_rows(out / "slices.csv", rows)
    write_text(out / "slices.md", text)
    return text


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--metrics", nargs="+", default=["CIEDE2000", "MAE"], choices=list(METRICS))
    parser.add_argument("--every", type=float, default=10.0, help="mm between two slices that are scored")
    given = parser.parse_args()
    progress.use("human")
    print(main(given.runs, given.out, given.metrics, given.every))
