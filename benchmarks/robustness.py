"""How much is lost when the sources of a case do not lie on each other: the test-time protocol of AGI-Net's curve.

    python benchmarks/robustness.py RUN [RUN …] --out OUT [--kind translation] [--sizes 0 1 2 4]

The runs (folds of one or several methods, on the same data with two sources or more) are judged again on their
test cases, with every source but the first moved: by whole voxels drawn from -s … s along both axes of the slices
(translation), by s degrees in the plane (rotation), or bent by up to s mm (warp). The first source and the target
are never touched, and every method sees the same moves. Three draws are averaged for a case. Printed as Markdown:
the MAE by size with the 95 % interval over cases, and the slope of each case's MAE per unit. Rows go to
OUT/robustness.csv.

Methods were trained on data as they are; what training on moved data would give is not measured here.
"""

import argparse
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
from planes import opened
from scipy import stats

from transmodal import progress
from transmodal.data.phantom.misalign import Motion, misalign
from transmodal.data.prepared import PreparedCase
from transmodal.data.tile import PLANES
from transmodal.data.volume import Volume
from transmodal.errors import RecipeError
from transmodal.evaluation.scale import scale_of
from transmodal.evaluation.score import score
from transmodal.evaluation.table import Row, write_rows
from transmodal.experiment.run import Run
from transmodal.inference.model import load_model
from transmodal.inference.predict import predict
from transmodal.methods._method import Method

DRAWS = 3
KINDS = ("translation", "rotation", "warp")


def move(kind: str, size: float, case: PreparedCase, axis: int, number: int, draw: int) -> Motion:
    """The move of one source of a case: the same for every method."""
    rng = np.random.default_rng([*case.name.encode(), number, draw, round(1000 * size)])
    if kind == "translation":
        voxels = rng.integers(-int(size), int(size) + 1, 3) * np.asarray(case.grid.spacing)
        voxels[axis] = 0
        return Motion(translation_mm=(float(voxels[0]), float(voxels[1]), float(voxels[2])))
    if kind == "rotation":
        turn = [0.0, 0.0, 0.0]
        turn[axis] = float(size * rng.choice((-1, 1)))
        return Motion(rotation_deg=(turn[0], turn[1], turn[2]))
    return Motion(warp_mm=float(size), seed=int(rng.integers(2**31)))


def judged(method: Method, name: str, run: Run, case: PreparedCase, kind: str, size: float, draw: int) -> Row:
    """The MAE of one case whose further sources were moved."""
    recipe, target = run.recipe, run.recipe.data.targets[0]
    axis = PLANES.get(recipe.sampling.view, 2)
    images = {source: np.asarray(case.values(source)) for source in recipe.data.sources}
    for number, source in enumerate(recipe.data.sources[1:]):
        motion = move(kind, size, case, axis, number, draw)
        images[source] = misalign(Volume(images[source], case.grid, source), motion).data
    mask, scale = np.asarray(case.mask(), dtype=bool), scale_of(target, case.fits[target])
    made = predict(
        method, recipe.task, images, case.fits, mask, recipe.sampling, recipe.inference,
        fill=case.fits[target].background, case=case.name,
    )  # fmt: skip
    (row,) = score(
        scale.of_prediction(made), scale.of_reference(case.values(target)), mask,
        case=case.name, method=name, data_range=scale.data_range, unit=scale.unit,
        region=f"{kind} {size:g}", metrics=("MAE",),
    )  # fmt: skip
    return row


def main(folders: list[Path], out: Path, kind: str, sizes: list[float]) -> str:
    found: dict[tuple[str, float, str], list[Row]] = {}
    for folder in progress.track(folders, "moving sources"):
        run = opened(folder)
        if len(run.recipe.data.sources) < 2:
            raise RecipeError(f"{folder}: has one source; there is nothing to move against another")
        model = load_model(folder / "model")
        for name in run.split.test:
            case = run.dataset.case(name)
            for size in sizes:
                for draw in range(DRAWS if size else 1):
                    row = judged(model.method, model.name, run, case, kind, size, draw)
                    found.setdefault((model.name, size, name), []).append(row)
    mean = {key: float(np.mean([row.value for row in draws])) for key, draws in found.items()}
    out.mkdir(parents=True, exist_ok=True)
    rows = [replace(draws[0], value=mean[key]) for key, draws in found.items()]
    write_rows(out / "robustness.csv", rows)
    return table(mean, sizes, kind)


def table(mean: dict[tuple[str, float, str], float], sizes: list[float], kind: str) -> str:
    unit = {"translation": "voxel", "rotation": "degree", "warp": "mm"}[kind]
    lines = [
        f"| method | n | {' | '.join(f'{kind} {size:g}' for size in sizes)} | MAE per {unit} |",
        f"|---|---:|{'---:|' * (len(sizes) + 1)}",
    ]
    for method in dict.fromkeys(method for method, _, _ in mean):
        cases = sorted({case for m, _, case in mean if m == method})
        values = np.array([[mean[method, size, case] for case in cases] for size in sizes])
        slopes = np.polyfit(sizes, values, 1)[0]
        cells = [spread(row) for row in values] + [spread(slopes)]
        lines.append(f"| {method} | {len(cases)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def spread(values: np.ndarray) -> str:
    """Mean and half the 95 % interval over cases (Student t)."""
    n = len(values)
    half = stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / math.sqrt(n) if n > 1 else math.nan
    return f"{values.mean():.4f} ± {half:.4f}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--kind", choices=KINDS, default="translation")
    parser.add_argument("--sizes", nargs="+", type=float, default=[0, 1, 2, 4])
    given = parser.parse_args()
    progress.use("human")
    print(main(given.runs, given.out, given.kind, given.sizes))
