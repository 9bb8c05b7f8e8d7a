"""Probe: what happens inside a trained method: frequencies of its encoder's features, and what its masks do."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch

from transmodal import progress, registry
from transmodal.data.files import check_folder, write_bytes, write_text
from transmodal.data.prepared import PreparedCase
from transmodal.data.tile import PLANES
from transmodal.errors import InputError, RecipeError
from transmodal.evaluation.table import Row, write_rows
from transmodal.experiment.judge import judge, score_judged
from transmodal.experiment.run import Run, open_run
from transmodal.inference.model import load_model
from transmodal.inference.synthesize import pick_device
from transmodal.methods._method import Method
from transmodal.questions import diversity, spectra
from transmodal.questions.spectra import Content
from transmodal.questions.taps import tapped
from transmodal.reporting.charts import bands, curves
from transmodal.shapes import Mask

UNTRAINED = ", untrained"
SCORES = ("MAE", "PSNR")
"""What opening masks is judged by."""


@dataclass
class Findings:
    """What was found inside, over all cases.

    Attributes:
        spectra: frequencies of features.
        masks: what the masks are like.
        worth: what opening them costs.
        weights: which weights frozen networks have, run by run.
        left: what was not measured, in sentences.
    """

    spectra: list[Content] = field(default_factory=list)
    masks: list[Row] = field(default_factory=list)
    worth: list[Row] = field(default_factory=list)
    weights: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def probe(words: Sequence[str], out: Path, *, slices: int = 8, device: str = "auto") -> str:
    """Look inside the networks of runs while they translate slices of their test cases.

    Args:
        words: folders of runs: folds of one recipe, whose test cases are pooled.
        out: folder for probe.md; spectra.csv and .png where there is an encoder; masks.csv, worth.csv,
            readings.csv and masks.png where there are masks.
        slices: of each case, evenly spaced where its mask is.
        device: as for :func:`transmodal.load_model`.

    Returns:
        The Markdown of probe.md.

    Raises:
        InputError: no run, or no test case.
        RecipeError: runs of different recipes, patches, or a method with neither encoder nor masks.
    """
    check_folder(out)
    runs = _opened(words, slices)
    found = Findings()
    for run in runs:
        model = load_model(run.folder / "model", pick_device(device))
        found.weights += model.about.get("pretrained", [])
        method, fresh = model.method, _untrained(run, device)
        for name in progress.track(run.split.test, f"probing {run.folder.name}"):
            case = run.dataset.case(name)
            _look(found, method, fresh, run, case, _thinned(case, run, slices))
    for sentence in dict.fromkeys(found.left):
        progress.warn(sentence)
    if not found.spectra and not found.masks and not found.left:
        raise RecipeError(
            f"{runs[0].recipe.method} has no encoder of another network and no masks, so there is nothing to "
            "probe; give a run of mrnet"
        )
    return _written(out, runs, slices, found)


def _look(found: Findings, method: Method, fresh: Method, run: Run, case: PreparedCase, inside: Mask) -> None:
    scored = partial(_scored, run=run, case=case, inside=inside)
    with tapped(method) as heard:
        scored(method)
    found.spectra += spectra.contents(case.name, heard)
    found.left += spectra.left_out(heard)
    found.masks += diversity.readings(case.name, heard)
    if heard.masks:
        found.worth += diversity.opened(method, partial(scored, method))
    if heard.encoder:
        with tapped(fresh) as before:
            scored(fresh)
        found.spectra += spectra.contents(case.name, before, UNTRAINED)


def _opened(words: Sequence[str], slices: int) -> list[Run]:
    if not words:
        raise RecipeError("name at least one run")
    if slices < 1:
        raise RecipeError(f"slices = {slices}: give at least 1")
    runs = [open_run(Path(word)) for word in words]
    first, seen = runs[0].recipe, dict[str, Path]()
    for run in runs:
        if (run.recipe.method, run.recipe.arguments) != (first.method, first.arguments):
            raise RecipeError(f"{run.folder}: is another method than {runs[0].folder}; probe folds of one recipe")
        if run.recipe.sampling.view == "patch":
            raise RecipeError(f"{run.folder}: looks at patches; slices are probed")
        if not run.split.test:
            raise InputError(f"{run.folder}: its split has no test case; train it on more cases")
        for name in run.split.test:
            if name in seen:
                raise RecipeError(f"{run.folder}: {name} is a test case of {seen[name]}, too; give each fold once")
            seen[name] = run.folder
    return runs


def _untrained(run: Run, device: str) -> Method:
    """The same networks before any training, the encoder's included; the same ones for every run."""
    recipe = run.recipe
    known = registry.arguments(registry.get(recipe.method))
    more = {"allow_random": True} if "allow_random" in known else {}
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        method = registry.build(recipe.method, recipe.task, {**recipe.arguments, **more})
    assert isinstance(method, torch.nn.Module)
    method.eval().to(pick_device(device))
    return method


def _thinned(case: PreparedCase, run: Run, slices: int) -> Mask:
    """The case's mask in a few slices, evenly spaced: others are then neither looked at nor judged."""
    planes = run.recipe.inference.planes or (run.recipe.sampling.view,)
    axis = PLANES.get(planes[0], PLANES["axial"])
    there = case.slices[axis]
    places = np.unique(np.linspace(0, len(there) - 1, slices + 2)[1:-1].round().astype(int))
    whole = np.asarray(case.mask(), dtype=bool)
    kept = np.zeros(whole.shape[axis], dtype=bool)
    kept[[there[place] for place in places]] = True
    return np.asarray(np.moveaxis(np.moveaxis(whole, axis, 2) & kept, 2, axis))


def _scored(method: Method, run: Run, case: PreparedCase, inside: Mask) -> list[Row]:
    """MAE and PSNR of the first target, in its judged unit."""
    return score_judged(next(judge(method, run, case, mask=inside)), run.recipe.method, SCORES)


def _written(out: Path, runs: Sequence[Run], slices: int, found: Findings) -> str:
    parts = [
        f"{runs[0].recipe.method}: {slices} slices of each of {sum(len(r.split.test) for r in runs)} test cases; "
        "means over cases, 95 % intervals. Research only."
    ]
    parts += [f"- {sentence}" for sentence in dict.fromkeys([*found.weights, *found.left])]
    if found.spectra:
        write_rows(out / "spectra.csv", spectra.rows(found.spectra))
        labels = ("frequency / Nyquist of the grid", "Δ log amplitude")
        write_bytes(out / "spectra.png", bands(spectra.charts(found.spectra), *labels))
        parts += [
            f"Share of energy below {spectra.RADIUS:g} of the grid's Nyquist frequency (white noise: 0.049):",
            spectra.table(found.spectra),
        ]
    if found.masks:
        write_rows(out / "masks.csv", found.masks)
        write_rows(out / "worth.csv", found.worth)
        trained = [reading for run in runs for reading in diversity.logged(run)]
        diversity.write_readings(out / "readings.csv", trained)
        if trained:
            write_bytes(out / "masks.png", curves(diversity.lines(trained)))
        parts += ["Masks of each site on these slices:", diversity.readings_table(found.masks)]
        for metric, unit in {row.metric: row.unit for row in found.worth}.items():
            parts += [f"What opening masks adds to {metric} ({unit}):", diversity.worth_table(found.worth, metric)]
    text = "\n\n".join(parts) + "\n"
    write_text(out / "probe.md", text)
    return text
