"""Do synthetic scans serve a segmentation as well as measured ones? AGI-Net's consistency test, for any run.

    python benchmarks/segmentation.py RUN [RUN …] --out OUT --classes lesion=6 white=4 grey=3,8-12

RUNs are folds of one recipe or of several on the same data, whose cases have label maps. For every fold, one small
3D U-Net learns the classes from the measured sources and the measured target of its training cases. On the test
cases, the target is then the measured one (what can be had at best), what each run's method made, the floors, or
nothing: the target's mean everywhere, or zeros. All methods are judged by the same network.
Dice and HD95 (mm) by class; a class that a case lacks has neither, one that was not found has no HD95: n says how
many people count. Rows go to OUT/segmentation.csv, the table to OUT/segmentation.md.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from monai.losses import DiceCELoss
from monai.metrics import compute_hausdorff_distance
from monai.networks.nets import BasicUNet
from slices import label
from torch import Tensor

from transmodal import progress
from transmodal.data.files import write_text
from transmodal.data.prepared import PreparedCase
from transmodal.data.volume import read_volume
from transmodal.errors import InputError, RecipeError
from transmodal.evaluation.people import by_subject
from transmodal.evaluation.scale import scale_of
from transmodal.evaluation.statistics import holm, paired
from transmodal.evaluation.table import Row, write_rows
from transmodal.experiment.run import Run, open_run
from transmodal.reporting.curves import spread
from transmodal.reporting.tables import p_value

Classes = dict[str, list[int]]
WIDTHS = (8, 16, 32, 64, 64, 8)


def sources(run: Run, case: PreparedCase) -> Tensor:
    """Z-scores of the measured sources inside the mask, zeros outside."""
    mask = np.asarray(case.mask(), dtype=bool)
    found = []
    for name in run.recipe.data.sources:
        values = np.asarray(case.values(name), dtype=np.float32)
        inside = values[:, mask]
        found.append(np.where(mask, (values - inside.mean()) / (inside.std() + 1e-6), 0.0))
    return torch.from_numpy(np.concatenate(found).astype(np.float32))


def target(run: Run, case: PreparedCase) -> Tensor:
    """The measured target in judged units, as the run's predictions are."""
    name = run.recipe.data.targets[0]
    return torch.from_numpy(np.array(scale_of(name, case.fits[name]).of_reference(case.values(name))))


def answers(runs: dict[str, Run], case: PreparedCase, mean: float) -> Iterator[tuple[str, Tensor]]:
    """What stands in the place of the target: measured, made by each method, or nothing."""
    measured = target(next(iter(runs.values())), case)
    yield "measured", measured
    made: dict[str, Path] = {}
    for name, run in runs.items():
        for folder in sorted((run.folder / "predictions").iterdir()):
            path = folder / f"{case.name}.nii.gz"
            if folder.name != "reference" and path.exists():
                label = name if folder.name == run.recipe.method else folder.name
                made.setdefault(label, path)
    for label, path in made.items():
        yield label, torch.from_numpy(np.ascontiguousarray(read_volume(path).data, dtype=np.float32))
    yield "nothing: its mean", torch.full_like(measured, mean)
    yield "nothing: zeros", torch.zeros_like(measured)


def truth(case: PreparedCase, classes: Classes) -> Tensor:
    """0 for what no class names, else the number of the class; shape (1, X, Y, Z)."""
    codes = case.labels()
    if codes is None:
        raise InputError(f"case {case.name}: has no label map")
    found = np.zeros(codes.shape, dtype=np.int64)
    for number, own in enumerate(classes.values(), start=1):
        found[np.isin(codes, own)] = number
    return torch.from_numpy(found)


def scaled(image: Tensor, mean: float, std: float) -> Tensor:
    return (image - mean) / std


def learn(run: Run, classes: Classes, steps: int, patch: int, seed: int) -> tuple[torch.nn.Module, float, float]:
    """A segmenter of measured scans, and mean and deviation of the target that it was shown."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    cases = [run.dataset.case(name) for name in run.split.train]
    masks = [np.array(case.mask(), dtype=bool) for case in cases]
    targets = [target(run, case) for case in cases]
    inside = torch.cat([t[:, torch.from_numpy(m)].flatten() for t, m in zip(targets, masks, strict=True)])
    mean, std = float(inside.mean()), float(inside.std())
    images = [torch.cat([sources(run, c), scaled(t, mean, std)]) for c, t in zip(cases, targets, strict=True)]
    labels = [truth(case, classes) for case in cases]
    places = [[np.argwhere(np.asarray(own[0]) == k) for k in range(len(classes) + 1)] for own in labels]
    network = BasicUNet(3, len(images[0]), len(classes) + 1, features=WIDTHS)
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, steps)
    loss = DiceCELoss(to_onehot_y=True, softmax=True, include_background=False)
    for _ in progress.track(range(steps), f"segmenter of {run.folder.name}"):
        chosen = []
        for _ in range(2):
            which = int(rng.integers(len(cases)))
            # Around a voxel of a class that is drawn first: small ones are seen as often as large ones.
            there = [p for p in places[which] if len(p)]
            centre = there[int(rng.integers(len(there)))]
            chosen.append(cut(images[which], labels[which], centre[int(rng.integers(len(centre)))], patch))
        image, label = (torch.stack(tensors) for tensors in zip(*chosen, strict=True))
        optimizer.zero_grad()
        loss(network(image), label).backward()
        optimizer.step()
        schedule.step()
    return network.eval(), mean, std


def cut(image: Tensor, label: Tensor, centre: np.ndarray, patch: int) -> tuple[Tensor, Tensor]:
    """A patch around a voxel, inside the volume."""
    shape = np.array(label.shape[1:])
    low = np.clip(centre - patch // 2, 0, np.maximum(shape - patch, 0))
    box = (slice(None), *(slice(int(a), int(a) + patch) for a in low))
    pad = [n for size in reversed(shape) for n in (0, max(patch - int(size), 0))]
    return torch.nn.functional.pad(image[box], pad), torch.nn.functional.pad(label[box], pad)


def judged(runs: dict[str, Run], classes: Classes, steps: int, patch: int, seed: int) -> Iterator[Row]:
    """Dice and HD95 of every test case of a fold, of every class and stand-in, by one segmenter."""
    run = next(iter(runs.values()))
    network, mean, std = learn(run, classes, steps, patch, seed)
    for name in progress.track(run.split.test, "segmenting"):
        case = run.dataset.case(name)
        reference = truth(case, classes)
        for method, image in answers(runs, case, mean):
            both = torch.cat([sources(run, case), scaled(image, mean, std)])[None]
            with torch.inference_mode():
                logits = sliding_window_inference(both, (patch,) * 3, 4, network, overlap=0.25)
            # What lies outside the mask was never shown; answers there mean nothing.
            inside = torch.from_numpy(np.array(case.mask(), dtype=bool))
            yield from score(case, method, logits.argmax(dim=1) * inside, reference * inside, classes)


def score(case: PreparedCase, method: str, made: Tensor, reference: Tensor, classes: Classes) -> Iterator[Row]:
    """Two rows a class; NaN where a number has no meaning."""
    for number, name in enumerate(classes, start=1):
        found, there = made == number, reference == number
        both = int(found.sum() + there.sum())
        dice = 2 * int((found & there).sum()) / both if there.any() else np.nan
        distance = np.nan
        if there.any() and found.any():
            pair = (found[None].float(), there[None].float())
            distance = float(compute_hausdorff_distance(*pair, percentile=95, spacing=case.grid.spacing))
        n = int(there.sum())
        yield Row(case.name, method, name, "Dice", "3d", dice, "1", n)
        yield Row(case.name, method, name, "HD95", "3d", distance, "mm", n)


def table(rows: list[Row], classes: Classes) -> str:
    heads = " | ".join(f"{name}: Dice | {name}: HD95 (mm)" for name in classes)
    lines = [f"| in the place of the target | {heads} |", f"|---|{'---:|' * (2 * len(classes))}"]
    for method in dict.fromkeys(row.method for row in rows):
        cells = []
        for name in classes:
            for metric in ("Dice", "HD95"):
                all_ = [r.value for r in rows if (r.method, r.region, r.metric) == (method, name, metric)]
                values = np.array([v for v in all_ if np.isfinite(v)])
                cells.append(f"{spread(values)} (n = {len(values)})")
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *losses(rows, classes)]) + "\n"


def losses(rows: list[Row], classes: Classes) -> Iterator[str]:
    """How much Dice each stand-in costs, person by person; Holm's correction over the stand-ins of a class."""
    methods = [method for method in dict.fromkeys(row.method for row in rows) if method != "measured"]
    yield "| class | in the place of the target | people | Dice less that of measured [95 %] | p (Holm) |"
    yield "|---|---|---:|---:|---:|"
    for name in classes:
        found = {
            method: {r.case: r.value for r in rows if (r.method, r.region, r.metric) == (method, name, "Dice")}
            for method in ("measured", *methods)
        }
        changes = [paired(found["measured"], found[method]) for method in methods]
        for method, change, p in zip(methods, changes, holm([c.p for c in changes]), strict=True):
            ends = f" [{change.interval.low:+.4f}, {change.interval.high:+.4f}]" if change.interval else ""
            yield f"| {name} | {method} | {change.n} | {change.mean:+.4f}{ends} | {p_value(p)} |"


def mean(rows: list[Row]) -> Row:
    """One row of several seeds; a seed that has no number does not count."""
    values = [row.value for row in rows if np.isfinite(row.value)]
    return replace(rows[0], value=float(np.mean(values)) if values else float("nan"))


def by_fold(words: list[str]) -> list[dict[str, Run]]:
    """Runs that share their data and split, by name: that of the method where none was given."""
    found: dict[tuple[object, ...], dict[str, Run]] = {}
    for name, folder in map(label, words):
        run = open_run(folder)
        fold = found.setdefault((run.dataset.digest(), run.recipe.task, run.split), {})
        called = run.recipe.method if name == folder.name else name
        if called in fold:
            raise InputError(
                f"{run.folder}: {called} is given twice for one fold; give runs of one seed, and NAME=RUN where "
                "two recipes have one method"
            )
        fold[called] = run
    return list(found.values())


def codes(words: str) -> list[int]:
    """``3,8-12`` as numbers."""
    found: list[int] = []
    for word in words.split(","):
        low, _, high = word.partition("-")
        found += range(int(low), int(high or low) + 1)
    return found


def main(words: list[str], out: Path, classes: Classes, steps: int, patch: int, seeds: int) -> str:
    if not classes:
        raise RecipeError("name at least one class: lesion=6")
    found: dict[tuple[str, str, str, str], list[Row]] = {}
    people: dict[str, str] = {}
    for runs in by_fold(words):
        run = next(iter(runs.values()))
        people |= {name: run.dataset.case(name).subject for name in run.split.test}
        for seed in range(seeds):
            for row in judged(runs, classes, steps, patch, seed):
                found.setdefault((row.case, row.method, row.region, row.metric), []).append(row)
    rows = by_subject(map(mean, found.values()), people)
    text = table(rows, classes)
    write_rows(out / "segmentation.csv", rows)
    write_text(out / "segmentation.md", text)
    return text


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="[NAME=]RUN")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--classes", nargs="+", required=True, metavar="NAME=CODE,CODE")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--patch", type=int, default=48)
    parser.add_argument("--seeds", type=int, default=1)
    given = parser.parse_args()
    named = {name: codes(numbers) for name, numbers in (word.split("=") for word in given.classes)}
    progress.use("human")
    print(main(given.runs, given.out, named, given.steps, given.patch, given.seeds))
