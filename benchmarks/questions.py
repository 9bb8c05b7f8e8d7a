"""What a reader asks of synthetic maps after the error: regions, identity, and what lies outside the head.

    python benchmarks/questions.py RUN [RUN …] [--dataset DATASET] [--group COLUMN]

The runs (folds of one or several methods) are what `transmodal train` left. Printed as Markdown, by method:

- artefact energy: mean |synthetic - measured| outside the mask, which masked scores cannot see;
- slice steps: SliceConsistency in the mask, the difference of steps from slice to slice;
- identity: how often a synthetic map correlates best with the measured map of its own person, in both masks;
- regions: mean in each label of the dataset, synthetic against measured: r over persons and regions, the mean
  difference, and its limits of agreement (1.96 sd over persons and regions);
- groups: the mean absolute error by what a column of the dataset's table says (site, sex, diagnosis).
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from transmodal.data.files import read_json
from transmodal.data.layout import find_cases
from transmodal.data.volume import read_volume
from transmodal.metrics import METRICS

Maps = dict[str, dict[str, np.ndarray]]
"""Method → case → map."""


def collect(runs: list[Path]) -> tuple[Maps, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Synthetic maps, measured maps and masks of every case that was judged."""
    made: Maps = {}
    measured, masks = {}, {}
    for run in runs:
        for case in read_json(run / "report.json")["cases"]:
            name = case["case"]
            measured[name] = read_volume(run / case["reference"]).data[0].astype(np.float32)
            masks[name] = read_volume(run / case["mask"], label=True).data[0] > 0
            for method, path in case["predictions"].items():
                made.setdefault(method, {})[name] = read_volume(run / path).data[0].astype(np.float32)
    return made, measured, masks


def outside(made: Mapping, measured: Mapping, masks: Mapping) -> float:
    return float(np.mean([np.abs(made[c] - measured[c])[~masks[c]].mean() for c in made if not masks[c].all()]))


def steps(made: Mapping, measured: Mapping, masks: Mapping) -> float:
    metric = METRICS["SliceConsistency"]
    values = [
        metric(*(torch.from_numpy(v)[None] for v in (made[c], measured[c])), torch.from_numpy(masks[c]))
        for c in made
    ]
    return float(np.mean(values))


def identity(made: Mapping, measured: Mapping, masks: Mapping) -> str:
    names = [c for c in made if measured[c].shape == measured[next(iter(made))].shape]

    def likeness(one: str, other: str) -> float:
        both = masks[one] & masks[other]
        x, y = made[one][both], measured[other][both]
        return float(np.corrcoef(x, y)[0, 1]) if x.std() and y.std() else -1.0

    right = sum(max(names, key=lambda other: likeness(one, other)) == one for one in names)
    return f"{right} of {len(names)}"


def regions(made: Mapping, measured: Mapping, labels: Mapping, smallest: int = 50) -> str:
    pairs = []
    for case in made:
        for code in np.unique(labels[case]):
            inside = labels[case] == code
            if code and inside.sum() >= smallest:
                pairs.append((made[case][inside].mean(), measured[case][inside].mean()))
    x, y = np.array(pairs).T
    gap = x - y
    r = np.corrcoef(x, y)[0, 1] if x.std() else float("nan")
    return f"{r:.3f} | {gap.mean():+.4f} ± {1.96 * gap.std(ddof=1):.4f}"


def groups(made: Maps, measured: Mapping, masks: Mapping, column: Mapping[str, str]) -> None:
    print("\n| method | group | n | MAE in the mask |\n|---|---|---:|---:|")
    for method, maps in made.items():
        for group in sorted(set(column.values())):
            errors = [np.abs(maps[c] - measured[c])[masks[c]].mean() for c in maps if column[c] == group]
            if errors:
                print(f"| {method} | {group} | {len(errors)} | {np.mean(errors):.4f} |")


def main(runs: list[Path], dataset: Path | None, column: str | None) -> None:
    made, measured, masks = collect(runs)
    labels = {}
    known = {case.name: case for case in find_cases(dataset)} if dataset is not None else {}
    for case in measured:
        path = known[case].labels if case in known else None
        if path is not None:
            labels[case] = np.where(masks[case], read_volume(path, label=True).canonical().data[0], 0)
    print("| method | artefact energy | slice steps | identity | regions: r | regions: difference |")
    print("|---|---:|---:|---:|---:|---:|")
    for method, maps in made.items():
        agreement = regions(maps, measured, labels) if labels else "– | –"
        print(
            f"| {method} | {outside(maps, measured, masks):.4f} | {steps(maps, measured, masks):.3f} "
            f"| {identity(maps, measured, masks)} | {agreement} |"
        )
    if column is not None:
        groups(made, measured, masks, {name: case.facts[column] for name, case in known.items()})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--dataset", type=Path, help="with label maps on the grid of the scans, or a group column")
    parser.add_argument("--group", help="a column of the dataset's table")
    given = parser.parse_args()
    main(given.runs, given.dataset, given.group)
