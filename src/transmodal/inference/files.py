"""Synthesis of files and folders: names, sidecars, per-file errors. The work is in :mod:`.synthesize`."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from transmodal import __version__, progress
from transmodal.data import bids
from transmodal.data.files import read_json, write_json
from transmodal.data.layout import find_cases
from transmodal.data.modality import modality
from transmodal.data.stacks import SIDECAR
from transmodal.data.volume import SUFFIXES, is_series, read_volume, stem, write_volume
from transmodal.data.write_stack import check_plane, write_stack
from transmodal.errors import InputError, PartialFailure, RecipeError, Refused, TransmodalError
from transmodal.inference.engine import Choice, engine_of, pick
from transmodal.inference.model import WEIGHTS, Model, load_model, read_facts
from transmodal.inference.predict import InferenceSettings
from transmodal.inference.synthesize import (
    LABEL,
    Synthetic,
    check_interval,
    describe,
    pick_device,
    synthesize_volumes,
)
from transmodal.schema import make, override, plain

DISCLAIMER = "Synthetic image. For research only; not for diagnosis or treatment."


@dataclass(frozen=True)
class Wish:
    """What is asked of every case.

    Attributes:
        force: overwrite volumes that exist, and go on where the guard refuses a scan.
        stacks: planes in which each volume is also written as a folder of PNG slices.
        interval: share of a person's voxels that lower and upper volumes are to hold; 0 for none.
    """

    force: bool = False
    stacks: Sequence[str] = ()
    interval: float = 0.0


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
        engine: ``torch``, ``onnx`` for an exported graph, or ``auto`` for the faster of those that are there.
        force: overwrite volumes that exist, and go on where the guard refuses a scan.
        stacks: planes (``axial``, ``coronal``, ``sagittal``) in which each volume is also written as a folder of
            PNG slices, ``NAME_axial``.
        interval: share of a person's voxels that further volumes ``*_lower`` and ``*_upper`` hold; 0 for none.

    Returns:
        The volumes and folders written.

    Raises:
        PartialFailure: some cases of a batch failed; the others are written.
        Refused: an output exists, or a scan is not of the kind that the model was trained on, and ``force`` is
            False; or intervals that the model's calibration cannot promise, whatever ``force`` says.
    """
    for plane in stacks:
        check_plane(plane)
    folder, facts = read_facts(model)
    chosen = make(InferenceSettings, override(facts["inference"], settings), "inference")
    picked = pick(engine, (folder / WEIGHTS).exists(), facts.get("onnx"), device, chosen.precision)
    loaded = load_model(folder, pick_device(device) if picked == "torch" else "cpu", picked)
    loaded = replace(loaded, inference=chosen)
    wish = Wish(force, stacks, interval)
    if interval:
        check_interval(loaded, interval)
    progress.say(f"computed by {engine_of(loaded.method)}, {chosen.precision}")
    if len(images) == 1 and "=" not in images[0] and _is_batch(Path(images[0])):
        if mask is not None:
            raise RecipeError("--mask goes with a single case; for a batch add a mask column or mask files to it")
        return _batch(loaded, Path(images[0]), out, wish)
    return _one(loaded, assign(loaded, images), mask, _targets(loaded, images, out), wish)


def _is_batch(path: Path) -> bool:
    """Whether it holds cases; a folder of DICOM files or PNG slices is one image."""
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


def _batch(model: Model, dataset: Path, out: Path, wish: Wish) -> list[Path]:
    if out.name.endswith(SUFFIXES) or out.is_file():
        raise RecipeError(f"--out {out}: a batch is written into a folder; give a folder's name")
    cases = find_cases(dataset, model.prepare.entities)
    root = dataset if bids.is_bids(dataset) else None
    if root is not None:
        name = f"Synthetic {', '.join(model.task.targets)} by {model.name}"
        write_json(out / bids.DESCRIPTION, bids.description(name, __version__, root))
    written: list[Path] = []
    failures: dict[str, str] = {}
    refused = 0
    for case in progress.track(cases, "synthesising"):
        progress.note(case.name)
        images = {name: case.images[name] for name in model.task.sources if name in case.images}
        made = list(images.values())
        named = root is not None and case.name.startswith("sub-")
        targets = {
            target: out / (bids.derived_path(case.name, made, target, model.name) if named
                           else f"{case.name}_synth-{target}.nii.gz")
            for target in model.task.targets
        }  # fmt: skip
        try:
            written += _one(model, images, case.mask, targets, wish, root)
        except TransmodalError as problem:
            failures[case.name] = str(problem)
            refused += isinstance(problem, Refused)
            progress.warn(f"{case.name}: {problem}")
    if failures and not written:
        kind = Refused if refused == len(cases) else InputError
        raise kind(
            f"{dataset}: none of {len(cases)} cases could be done; the first: {next(iter(failures.values()))}"
        )
    if failures:
        write_json(out / "failures.json", failures)
        raise PartialFailure(
            f"{len(failures)} of {len(cases)} cases failed ({', '.join(failures)}); the others are in {out}, "
            f"the reasons in {out / 'failures.json'}",
            failures,
        )
    return written


def _one(
    model: Model,
    images: dict[str, Path],
    mask: Path | None,
    targets: dict[str, Path],
    wish: Wish,
    root: Path | None = None,
) -> list[Path]:
    """One case; ``root`` is the BIDS data set that it belongs to, for links to its sources."""
    folders = [_stack_of(path, plane) for path in targets.values() for plane in wish.stacks]
    ends = {target: (_beside(path, "lower"), _beside(path, "upper")) for target, path in targets.items()}
    limits = [path for pair in ends.values() for path in pair] if wish.interval else []
    there = [path for path in (*targets.values(), *limits, *folders) if path.exists()]
    given = [path for path in (*images.values(), mask) if path is not None and path.exists()]
    for path in there:
        if any(path.samefile(one) for one in given):
            raise InputError(
                f"{path}: is one of the images given, and --force does not replace a scan by a guess; "
                "choose another --out"
            )
    if there and not wish.force:
        raise Refused(f"{there[0]}: exists already; add --force to overwrite it, or choose another --out")
    started = time.monotonic()
    volumes = {name: read_volume(path) for name, path in images.items()}
    head = None if mask is None else read_volume(mask, label=True)
    made = synthesize_volumes(model, volumes, head, force=wish.force, interval=wish.interval)
    seconds = time.monotonic() - started
    sources = {name: _spelt(path, root) for name, path in images.items()}
    for target, path in targets.items():
        kind = modality(target)
        write_volume(made.volumes[target], path, dtype=kind.dtype, description=describe(model, target))
        write_json(path.with_name(f"{stem(path)}.json"), _sidecar(model, target, sources, made, seconds))
        for which, volume, at in zip(
            ("lower", "upper"), made.intervals.get(target, ()), ends[target], strict=False
        ):
            write_volume(volume, at, dtype=kind.dtype, description=f"{describe(model, target)} {which}")
            limit = {"Limit": which, "Holds": wish.interval, "CalibratedOn": _people(model)}
            write_json(
                at.with_name(f"{stem(at)}.json"), {**_sidecar(model, target, sources, made, seconds), **limit}
            )
        for plane in wish.stacks:
            about = {"Synthetic": True, "Description": describe(model, target), "Disclaimer": DISCLAIMER}
            write_stack(made.volumes[target], _stack_of(path, plane), plane, about)
    return [*targets.values(), *limits, *folders]


def _stack_of(path: Path, plane: str) -> Path:
    """The folder of a volume's slices in a plane, if nothing else is there.

    Raises:
        InputError: it is there and holds something that was not synthesised.
    """
    folder = path.with_name(f"{stem(path)}_{plane}")
    if folder.exists() and not ((folder / SIDECAR).is_file() and read_json(folder / SIDECAR).get("Synthetic")):
        raise InputError(f"{folder}: is no stack that was synthesised; move it away, or choose another --out")
    return folder


def _beside(path: Path, which: str) -> Path:
    """Where a lower or upper volume is written; BIDS names keep their suffix."""
    if "_desc-synth_" in path.name:
        return path.with_name(path.name.replace("_desc-synth_", f"_desc-synth{which}_"))
    return path.with_name(path.name.replace(stem(path), f"{stem(path)}_{which}", 1))


def _people(model: Model) -> int:
    return 0 if model.calibration is None else model.calibration.people


def _spelt(path: Path, root: Path | None) -> str:
    """A source as a sidecar names it: by a BIDS URI where it lies in the data set."""
    if root is not None and path.resolve().is_relative_to(root.resolve()):
        return f"bids:raw:{path.resolve().relative_to(root.resolve())}"
    return str(path)


def _sidecar(
    model: Model, target: str, sources: dict[str, str], made: Synthetic, seconds: float
) -> dict[str, object]:
    """What must be known of a synthetic volume by whoever finds it."""
    volume = made.volumes[target]
    return {
        "Synthetic": True,
        "Description": f"{LABEL} {target}",
        "Disclaimer": DISCLAIMER,
        "Sources": sources,
        "GeneratedBy": [{"Name": "transmodal", "Version": __version__}],
        "Model": {
            "Method": model.name,
            "SHA256": model.sha256,
            "Licence": model.about.get("licence", "not stated"),
            "Pretrained": model.about.get("pretrained", []),
        },
        "Guard": {
            "Compared": list(made.differences),
            "Differences": {k: v for k, v in made.differences.items() if v},
        },
        "Units": modality(target).unit,
        "ValueRange": [float(volume.data.min()), float(volume.data.max())],
        "Inference": plain(model.inference),
        "Engine": engine_of(model.method),
        "Seconds": round(seconds, 2),
    }
