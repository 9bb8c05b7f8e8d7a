"""Train recipes over all folds and put every held-out case into one table.

    python benchmarks/quality.py --data SCANS --out runs recipes/{regression,pix2pix}_elderly.toml

Recipes that are given together must use the same data, and a method is called what its recipe is called up to the
first underscore. Cases are prepared once. A run that is finished is not repeated. With several seeds every fold is
trained that often, and a case's value is the mean over them: the interval stays one over people, and how much the
seeds differ is said apart. The table, the rows and the seconds go to OUT/quality.md, OUT/quality.csv.
"""

import argparse
import time
from dataclasses import replace
from itertools import product
from pathlib import Path
from statistics import fmean, stdev

from transmodal import progress
from transmodal.data.files import read_json
from transmodal.data.layout import find_cases
from transmodal.data.prepare import prepare
from transmodal.data.volume import read_volume
from transmodal.evaluation.summary import summarise
from transmodal.evaluation.table import Row, read_rows, write_rows
from transmodal.experiment.train import train
from transmodal.inference.model import load_model
from transmodal.inference.synthesize import synthesize_volumes
from transmodal.machine import environment
from transmodal.recipe import Recipe, load_recipe
from transmodal.reporting.tables import markdown_table
from transmodal.training.monitor import read_log

Found = dict[tuple[str, str, str, str], dict[int, Row]]
"""(case, method, region, metric) → seed → row."""


def run(paths: list[Path], data: Path, out: Path, words: list[str], seeds: int = 1) -> str:
    prepared = out / "prepared"
    prepare(data, prepared, load_recipe(paths[0], words).prepare_settings)
    found: Found = {}
    seconds, spent = {}, {}
    if len({label(path) for path in paths}) < len(paths):
        raise SystemExit("two recipes have one name up to the first underscore; rename one")
    for path in paths:
        for seed, fold in product(range(seeds), range(load_recipe(path, words).data.folds)):
            own = [*words, f"data.fold={fold}", f"data.path={prepared}", f"training.seed={seed}"]
            recipe = load_recipe(path, own)
            folder = out / (f"{path.stem}_{fold}" + (f"_seed{seed}" if seed else ""))
            collect(found, recipe, folder, seed, label(path))
        seconds[label(path)] = time_one(folder, data)
        spent[label(path)] = read_log(folder / "log.jsonl")[-1]
    rows = over_seeds(found)
    write_rows(out / "quality.csv", rows)
    lines = [markdown_table(summarise(rows)), ""]
    if seeds > 1:
        for method in seconds:
            means = [
                fmean(b[s].value for k, b in found.items() if k[1] == method and k[3] == "MAE")
                for s in range(seeds)
            ]
            lines.append(
                f"{method}: mean MAE by seed {', '.join(f'{m:.5f}' for m in means)}; sd {stdev(means):.5f}"
            )
    for method, value in seconds.items():
        last = spent[method]
        lines.append(
            f"{method}: {last['step']} steps in {last['seconds']:.0f} s of training; "
            f"{value:.1f} s for a volume, scan to scan"
        )
    facts = environment()
    lines += [f"{facts['processor']}, {facts['cores']} cores; commit {facts['commit']}", ""]
    text = "\n".join(lines)
    (out / "quality.md").write_text(text)
    return text


def label(path: Path) -> str:
    return path.stem.partition("_")[0]


def collect(found: Found, recipe: Recipe, folder: Path, seed: int, name: str = "") -> None:
    """Train a recipe unless it is done, and add the rows of its test cases under its name."""
    done = (folder / "evaluation.csv").exists()
    if not done or read_json(folder / "run.json")["hash"] != recipe.hash:
        train(recipe, folder, force=True)
    for row in read_rows(folder / "evaluation.csv"):
        if name and row.method.partition(" from ")[0] == recipe.method:
            row = replace(row, method=row.method.replace(recipe.method, name, 1))
        found.setdefault((row.case, row.method, row.region, row.metric), {}).setdefault(seed, row)


def over_seeds(found: Found) -> list[Row]:
    """One row for each case, method and metric: the mean over the seeds."""
    return [replace(by_seed[0], value=fmean(r.value for r in by_seed.values())) for by_seed in found.values()]


def time_one(folder: Path, data: Path) -> float:
    """Median seconds of three times from volumes in memory to the synthetic volume on their grid."""
    model = load_model(folder / "model")
    case = next(c for c in find_cases(data) if all(s in c.images for s in model.task.sources))
    images = {name: read_volume(case.images[name]) for name in model.task.sources}
    taken = []
    for _ in range(3):
        start = time.perf_counter()
        synthesize_volumes(model, images)
        taken.append(time.perf_counter() - start)
    return sorted(taken)[1]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="+", type=Path)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--set", nargs="*", default=[], help="key=value words for every recipe")
    parser.add_argument("--seeds", type=int, default=1, help="how often every fold is trained")
    given = parser.parse_args()
    progress.use("human")
    print(run(given.recipes, given.data, given.out, given.set, given.seeds))
