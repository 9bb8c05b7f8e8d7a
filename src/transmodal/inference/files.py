"""Synthesis of files: which image is which source, and what is written where.

One case is an :mod:`.errand`, a folder of them a :mod:`.round`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transmodal import progress
from transmodal.data.volume import SUFFIXES, is_series, stem
from transmodal.data.write_stack import check_plane
from transmodal.errors import RecipeError
from transmodal.inference.choice import Choice, Name, engine_of, pick
from transmodal.inference.described import Described, described
from transmodal.inference.errand import Errand, Wish
from transmodal.inference.model import WEIGHTS, Model, load_model, read_facts
from transmodal.inference.predict import InferenceSettings
from transmodal.inference.round import Source, go_round
from transmodal.inference.synthesize import check_interval, pick_device
from transmodal.schema import make, override


def synthesize_paths(
    model: Path | str,
    images: Sequence[str],
    out: Path,
    *,
    mask: Path | None = None,
    settings: Sequence[str] = (),
    device: str = "auto",
    engine: Choice = "auto",
    force: bool = False,
    stacks: Sequence[str] = (),
    interval: float = 0.0,
    scheduler: str = "",
) -> list[Path]:
    """Synthesise from files, or from a folder or table of cases.

    Args:
        model: a model's folder.
        images: the model's sources in order, or ``NAME=FILE`` words; or one folder or TSV/CSV.
        out: a ``.nii.gz`` file for one case and one target, else a folder; for a BIDS data set the folder becomes
            one of derivatives.
        mask: the head, for a single case.
        settings: ``key=value`` words for the model's ``[inference]`` table.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        engine: ``torch``, ``onnx`` for an exported graph, or ``auto`` (:func:`transmodal.inference.choice.pick`).
        force: overwrite volumes that exist, and go on where the guard refuses a scan.
        stacks: planes (``axial``, ``coronal``, ``sagittal``) in which each volume is also written as a folder of
            PNG slices, ``NAME_axial``.
        interval: share of a person's voxels that further volumes ``*_lower`` and ``*_upper`` hold; 0 for none.
        scheduler: of a Dask cluster that does a batch, or ``local`` (:mod:`transmodal.data.cluster`).

    Returns:
        The volumes and folders written.

    Raises:
        PartialFailure: some cases of a batch failed; the others are written.
        Refused: an output exists, or a scan is not of the kind that the model was trained on, and ``force`` is
            False; or intervals that the model's calibration cannot promise, whatever ``force`` says.
    """
    for plane in stacks:
        check_plane(plane)
    plan = plan_for(model, settings, device, engine)
    loaded = load_model(plan.folder, plan.device or "cpu", plan.engine)
    loaded = replace(loaded, inference=plan.settings)
    wish = Wish(force, stacks, interval)
    if interval:
        check_interval(loaded, interval)
    progress.say(f"computed by {engine_of(loaded.method)}, {plan.settings.precision}")
    if is_batch(images):
        if mask is not None:
            raise RecipeError("--mask goes with a single case; for a batch add a mask column or mask files to it")
        if out.name.endswith(SUFFIXES) or out.is_file():
            raise RecipeError(f"--out {out}: a batch is written into a folder; give a folder's name")
        source = Source(plan.folder, loaded.sha256, device, plan.engine, plan.settings)
        return go_round(loaded, source, Path(images[0]), out, wish, scheduler)
    if scheduler:
        raise RecipeError("--scheduler is for a folder or a table of cases; leave it out for a single case")
    return Errand(loaded, assign(loaded, images), mask, _targets(loaded, images, out), wish).run()


@dataclass(frozen=True)
class Plan:
    """How a model's folder will be used.

    Attributes:
        folder: with ``model.json``.
        known: what that says.
        settings: the ``[inference]`` table with the user's words over it.
        engine: which one computes.
        device: of torch; None for the other engine, which is used without it.
    """

    folder: Path
    known: Described
    settings: InferenceSettings
    engine: Name
    device: Any


def plan_for(model: Path | str, settings: Sequence[str], device: str, engine: Choice) -> Plan:
    """How ``model`` will be used, before anything is loaded; arguments as of :func:`synthesize_paths`.

    Raises:
        InputError: no model there, or a damaged one.
        RecipeError: settings, a device or an engine that do not go with it.
    """
    folder, facts = read_facts(model)
    known = described(facts)
    chosen = make(InferenceSettings, override(facts["inference"], settings), "inference")
    picked = pick(engine, (folder / WEIGHTS).exists(), known.graph, device, chosen.precision)
    return Plan(folder, known, chosen, picked, pick_device(device) if picked == "torch" else None)


def is_batch(images: Sequence[str]) -> bool:
    """Whether the words name a folder or a table of cases; a folder of DICOM files or PNG slices is one image."""
    if len(images) != 1 or "=" in images[0]:
        return False
    path = Path(images[0])
    return (path.is_dir() and not is_series(path)) or path.suffix.lower() in (".tsv", ".csv")


def assign(model: Model, words: Sequence[str]) -> dict[str, Path]:
    """Source → file, from words in order or by name.

    Raises:
        RecipeError: no word, too many, or a source that the model does not have.
    """
    wanted = model.task.sources
    if not words:
        raise RecipeError(f"no image given; the model needs {', '.join(wanted)}")
    named: dict[str, Path] = {}
    free = list(wanted)
    for word in words:
        name, equals, file = word.partition("=")
        if not equals or name not in wanted:
            if equals and not Path(word).exists():
                raise RecipeError(f"{word}: the model has no source {name!r}; its sources are {', '.join(wanted)}")
            if not free:
                raise RecipeError(f"{word}: more images than sources ({', '.join(wanted)})")
            name, file = free[0], word
        if name in named:
            raise RecipeError(f"{word}: source {name} is given twice")
        free.remove(name)
        named[name] = Path(file)
    return {name: named[name] for name in wanted if name in named}


def _targets(model: Model, words: Sequence[str], out: Path) -> dict[str, Path]:
    """Target → file to write for a single case."""
    targets = model.task.targets
    if out.name.endswith(SUFFIXES):
        if len(targets) > 1:
            raise RecipeError(f"--out {out}: the model makes {', '.join(targets)}; give a folder")
        return {targets[0]: out}
    if out.is_file():
        raise RecipeError(f"--out {out}: is a file that is not .nii or .nii.gz; give a folder or a volume's name")
    first = Path(words[0].partition("=")[2] or words[0])
    return {target: out / f"{stem(first)}_synth-{target}.nii.gz" for target in targets}
