r"""What resolution a model should work at: runs at several, judged on the finest grid, slice by slice.

    python benchmarks/datasets.py finecolours HEADS
    transmodal train recipes/colorization_phantom.toml data.path=HEADS method.segmentation_weight=0 --out RUN_64 \
        sampling.size=[64,64] data.prepare.spacing=[3.4,3.4,0.85] training.optimizer.lr=3e-4  (128: 1.7; 256: 0.85)
    python benchmarks/resolutions.py 256=RUN_256 128=RUN_128 64=RUN_64 --data HEADS --out OUT

``NAME=RUN@1.7`` is the model of RUN with the same weights, shown voxels of 1.7 mm.
Every model translates the test cases of the first run from the files in HEADS, and answers on their grid; there
are no floors here. The first run is what the others are compared with, as in slices.py, whose words about slices
of one body hold here, too.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from slices import by_slice, chosen, label, table
from torch import Tensor

from transmodal import progress
from transmodal.data.files import write_text
from transmodal.data.layout import CaseFiles, find_cases
from transmodal.data.modality import modality
from transmodal.data.volume import read_volume
from transmodal.errors import InputError, RecipeError
from transmodal.evaluation.table import Row, write_rows
from transmodal.experiment.run import open_run
from transmodal.inference.model import Model, load_model
from transmodal.inference.synthesize import synthesize_volumes
from transmodal.metrics import METRICS


def scores(models: dict[str, Model], case: CaseFiles, metrics: list[str], every: float) -> Iterator[Row]:
    """One row a slice, metric and model, on the grid of the case's files."""
    target = next(iter(models.values())).task.targets[0]
    reference = read_volume(case.images[target])
    if case.mask is None:
        raise InputError(f"{case.name}: has no mask to judge in")
    whole = read_volume(case.mask, label=True)
    mask, truth = torch.from_numpy(whole.data[0] > 0), torch.from_numpy(reference.data)
    levels, size = chosen(mask, reference.grid.spacing[2], every), data_range(target, truth[:, mask])
    for name, model in models.items():
        images = {source: read_volume(case.images[source]) for source in model.task.sources}
        made = torch.from_numpy(synthesize_volumes(model, images, whole).volumes[target].data)
        for level, metric, how, value in by_slice(made, truth, mask, levels, metrics, size):
            n = int(mask[..., level].sum())
            yield Row(f"{case.name} {level}", name, "slice", metric, how, value, "", n)


def shown(model: Model, size: float | None) -> Model:
    """The model with the same weights, whose scans are brought to voxels of ``size`` mm."""
    if size is None:
        return model
    edges = (size, size, size)
    return replace(model, spacing=edges, prepare=replace(model.prepare, spacing=edges))


def data_range(target: str, truth: Tensor) -> float:
    """R: the width of the target's physical window, and of a target without one that of its values in the mask."""
    window = modality(target).window
    return float(truth.max() - truth.min()) if window is None else window[1] - window[0]


def main(words: list[str], data: Path, out: Path, metrics: list[str], every: float) -> str:
    named = {name: Path(str(folder).partition("@")[0]) for name, folder in map(label, words)}
    sizes = {
        name: float(str(folder).partition("@")[2]) for name, folder in map(label, words) if "@" in str(folder)
    }
    if len(named) < max(2, len(words)):
        raise InputError("give runs at two resolutions or more, each with a name of its own: NAME=RUN OTHER=RUN")
    if others := [metric for metric in metrics if METRICS[metric].against_input]:
        raise RecipeError(f"{others[0]}: sources have another grid at each resolution; leave it out")
    tests = {open_run(folder).split.test for folder in named.values()}
    if len(tests) > 1:
        raise InputError("the runs were tested on different cases; give the same fold of each")
    models = {name: shown(load_model(folder), sizes.get(name)) for name, folder in named.items()}
    cases = [case for case in find_cases(data) if case.name in next(iter(tests))]
    rows = [row for case in progress.track(cases, "cases") for row in scores(models, case, metrics, every)]
    text = table(rows, metrics)
    write_rows(out / "resolutions.csv", rows)
    write_text(out / "resolutions.md", text)
    return text


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="NAME=RUN")
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument(
        "--metrics", nargs="+", default=["CIEDE2000", "MAE", "SSIM", "STSIM-1", "Sharpness"], choices=list(METRICS)
    )
    parser.add_argument("--every", type=float, default=10.0, help="mm between two slices that are scored")
    given = parser.parse_args()
    progress.use("human")
    print(main(given.runs, given.data, given.out, given.metrics, given.every))
