"""One plane against three: the same model, which was trained on slices of all planes, used both ways.

    python benchmarks/planes.py RUN [RUN …]

RUNs, the folds of one recipe, were trained with sampling.view=planes. Their test cases are translated plane by
plane and by the mean of all three, and judged in one table with SliceConsistency along the axial axis. Printed as
Markdown, with the seconds of a volume.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from transmodal.data.tile import PLANES
from transmodal.errors import RecipeError
from transmodal.evaluation.summary import summarise
from transmodal.evaluation.table import Row
from transmodal.experiment.judge import judge, score_judged
from transmodal.experiment.run import open_run
from transmodal.inference.model import load_model
from transmodal.reporting.tables import markdown_table

METRICS = ("MAE", "PSNR", "SSIM", "SliceConsistency")


def main(folders: list[Path]) -> None:
    rows: list[Row] = []
    seconds: dict[str, list[float]] = {}
    for folder in folders:
        run = open_run(folder)
        if run.recipe.sampling.view != "planes":
            raise RecipeError(
                f"{folder}: was trained on {run.recipe.sampling.view} slices; train with sampling.view=planes"
            )
        model = load_model(folder / "model")
        for label, planes in {**{name: (name,) for name in PLANES}, "mean of three": tuple(PLANES)}.items():
            used = replace(run, recipe=replace(run.recipe, inference=replace(run.recipe.inference, planes=planes)))
            for name in run.split.test:
                start = time.perf_counter()
                for judged in judge(model.method, used, run.dataset.case(name)):
                    region = "mask" if len(run.recipe.data.targets) == 1 else f"{judged.target} mask"
                    rows += score_judged(judged, label, METRICS, region=region)
                seconds.setdefault(label, []).append(time.perf_counter() - start)
    print(markdown_table(summarise(rows)))
    print(*(f"{label}: {fmean(own):.1f} s a volume, judged" for label, own in seconds.items()), sep="\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    main(parser.parse_args().runs)
