"""synthesize(): scans in, the missing scan out, on exactly the grid of the scan that went in.

The way there is the one that training cases went (:func:`transmodal.data.prepare.bring`); the way back restores
physical units, resamples to the input's grid and copies its header geometry bit for bit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from transmodal import progress
from transmodal.data.bring import bring
from transmodal.data.geometry import resample
from transmodal.data.grid import Grid
from transmodal.data.modality import modality
from transmodal.data.volume import Volume, from_image, to_image
from transmodal.errors import InputError, RecipeError, Refused
from transmodal.inference.conformal import Calibration
from transmodal.inference.guard import watch
from transmodal.inference.model import Model
from transmodal.inference.predict import Scan, predict
from transmodal.inference.spread import spread
from transmodal.schema import plain

LABEL = "SYNTHETIC"
"""How the description of every synthetic volume starts."""


@dataclass(frozen=True, eq=False)
class Synthetic:
    """What was made of one case.

    Attributes:
        volumes: target → volume on the grid of the first image, in physical units.
        differences: source → what sets it apart from the training's images (:mod:`.guard`), for those that could
            be compared.
        intervals: target → lower and upper volumes, if they were asked for.
    """

    volumes: dict[str, Volume]
    differences: dict[str, list[str]] = field(default_factory=dict)
    intervals: dict[str, tuple[Volume, Volume]] = field(default_factory=dict)


def synthesize(model: Model, images: Any, *, mask: Any = None, force: bool = False) -> Any:
    """Make the model's target from nibabel images.

    Args:
        model: from :func:`transmodal.load_model`.
        images: one nibabel image; a sequence in the order of ``model.task.sources``; or a mapping by name,
            from which a source may be left out if the method handles missing ones.
        mask: an image on the same grid that is larger than 0 in the head; found in the first source if None.
        force: go on, with a warning, where a scan is not of the kind that the model was trained on.

    Returns:
        A nibabel image on the grid of the first image, in physical units (HU, FA …), its header marked
        ``SYNTHETIC``; a dict by name if the model makes several targets.

    Raises:
        InputError: images that cannot be used (see :func:`transmodal.data.volume.read_volume`), sources on
            different grids, an empty mask.
        Refused: a scan that the model was not trained for (:mod:`.guard`).
    """
    volumes = {name: from_image(image, name) for name, image in _by_name(model, images).items()}
    head = None if mask is None else from_image(mask, "mask", label=True)
    made = synthesize_volumes(model, volumes, head, force=force).volumes
    stored = {
        name: to_image(volume, dtype=modality(name).dtype, description=describe(model, name))
        for name, volume in made.items()
    }
    return stored if len(stored) > 1 else next(iter(stored.values()))


def synthesize_volumes(
    model: Model,
    images: Mapping[str, Volume],
    mask: Volume | None = None,
    *,
    force: bool = False,
    interval: float = 0.0,
) -> Synthetic:
    """The same for Volumes.

    Args:
        model: from :func:`transmodal.load_model`.
        images: source → image.
        mask: the head.
        force: go on where the guard refuses.
        interval: share of a person's voxels that lower and upper volumes are to hold (:mod:`.conformal`); 0 for
            none.

    Raises:
        Refused: see :func:`synthesize`; or an interval that the model's calibration cannot promise.
    """
    check_sources(model, images, mask)
    calibration = check_interval(model, interval) if interval else None
    if calibration is not None and calibration.masked and mask is None:
        progress.warn(
            "the intervals were calibrated in masks that were given: they promise nothing outside such a mask, "
            "and without --mask nobody knows where that is"
        )
    name, first = next(iter(images.items()))
    brought = bring(dict(images), _as_at_inference(model, name), mask=mask)
    names = {source: image.name for source, image in images.items()}
    differences = watch(model.profiles, brought.facts, brought.fits, model.prepare.spacings, names, force=force)
    _warn_of_spacing(model, brought.grid.spacing, first.name)
    sources = {source: volume.data for source, volume in brought.images.items()}
    scan = Scan(sources, brought.fits, brought.mask, first.name)
    answer = predict(model.translation, scan)
    home = [partial(_at_home, model, target, grid=brought.grid, to=first.grid) for target in model.task.targets]
    parts = parts_of(model)
    made = {target: put(answer[parts[target]]) for target, put in zip(parts, home, strict=True)}
    intervals = {}
    if calibration is not None:
        width = spread(answer, model.translation, scan)
        for target, put in zip(parts, home, strict=True):
            low, high = calibration.bounds(target, answer[parts[target]], width[parts[target]], interval)
            intervals[target] = (put(low), put(high))
    return Synthetic(made, differences, intervals)


def check_interval(model: Model, share: float) -> Calibration:
    """The calibration, if it can promise intervals that hold ``share`` of a person's voxels.

    Raises:
        Refused: the model was not calibrated, with these settings, or with enough people.
    """
    found = model.calibration
    if found is None:
        raise Refused(
            f"--interval {share:g}: the model was never calibrated, so nothing says how far it errs; run "
            "transmodal calibrate RUN, with people that it was not trained on"
        )
    if found.inference != settings_that_matter(model):
        raise Refused(
            f"--interval {share:g}: the model was calibrated with other [inference] settings; leave --set out, or "
            "calibrate with these"
        )
    for target in model.task.targets:
        found.reach(target, share)
    return found


def settings_that_matter(model: Model) -> dict[str, Any]:
    """Of the ``[inference]`` settings, those that an answer depends on."""
    return {key: value for key, value in plain(model.inference).items() if key != "batch_size"}


def parts_of(model: Model) -> dict[str, slice]:
    """Target → its channels in an answer."""
    found, start = {}, 0
    for target in model.task.targets:
        channels = modality(target).channels
        found[target] = slice(start, start + channels)
        start += channels
    return found


def _at_home(model: Model, target: str, values: np.ndarray, grid: Grid, to: Grid) -> Volume:
    """Normalised values of a target in its units, on the grid of the scan that was given."""
    fit = model.fits[target]
    volume = Volume(fit.invert(values), grid, f"{LABEL.lower()} {target}")
    empty = float(fit.invert(np.array([fit.background], dtype=np.float32))[0])
    return resample(volume, to, order=model.inference.interpolation, fill=empty)


def check_sources(model: Model, images: Mapping[str, Volume], mask: Volume | None = None) -> None:
    """Refuse sources that the model does not know, lacks, or that do not lie on one grid.

    Where the model's own cases were registered, sources may lie on any grid; the mask lies on the first one's.

    Raises:
        InputError: naming the sources and files concerned.
    """
    wanted = model.task.sources
    unknown = [name for name in images if name not in wanted]
    if unknown:
        raise InputError(f"{unknown[0]}: the model does not take it; its sources are {', '.join(wanted)}")
    absent = [name for name in wanted if name not in images]
    if absent and (not model.method.facts.handles_missing or not images):
        raise InputError(
            f"source {absent[0]} is missing; the model needs {', '.join(wanted)}: add {absent[0]}=FILE"
        )
    if absent and model.method.players() and not model.sampling.drop:
        progress.warn(f"{model.name} was trained with all its sources (sampling.drop = 0); {absent[0]} is missing")
    first = next(iter(images.values()))
    further = list(images.values())[1:] if model.prepare.register == "none" else []
    for other in [*further, *([mask] if mask is not None else [])]:
        if not first.grid.same_as(other.grid):
            raise InputError(
                f"{other.name} ({other.grid.describe()}) does not lie on the grid of {first.name} "
                f"({first.grid.describe()}); register and resample it onto that grid first, or train with "
                "data.prepare.register = 'rigid'"
            )


def describe(model: Model, target: str) -> str:
    """What the header says of a synthetic volume: at most 79 bytes, the label first."""
    return f"{LABEL} {target} by transmodal {model.name} {model.sha256[:12]}"


def pick_device(name: str) -> Any:
    """``auto``, ``cpu``, ``cuda`` or ``mps`` as a torch device that is there.

    Raises:
        RecipeError: another word, or a device that this machine lacks.
    """
    import torch

    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device("cuda" if there["cuda"] else "cpu")
    if not there.get(name.split(":")[0], False):
        found = ", ".join(device for device, is_there in there.items() if is_there)
        raise RecipeError(f"--device {name}: this machine has {found} (or auto)")
    return torch.device(name)


def _by_name(model: Model, images: Any) -> dict[str, Any]:
    if isinstance(images, Mapping):
        return dict(images)
    ordered = list(images) if isinstance(images, Sequence) else [images]
    if len(ordered) > len(model.task.sources):
        raise InputError(
            f"{len(ordered)} images for the sources {', '.join(model.task.sources)}; give one for each"
        )
    return dict(zip(model.task.sources, ordered, strict=False))


def _as_at_inference(model: Model, first: str) -> Any:
    """How to bring a new scan to the model's grid: no target, no labels, nothing cut away."""
    if model.prepare.fit_in == "foreground":
        return replace(model.prepare, reference=first, mask="auto", crop_margin=-1.0)
    return replace(model.prepare, reference=first, mask="given", crop_margin=-1.0)


def _warn_of_spacing(model: Model, spacing: Sequence[float], name: str) -> None:
    ratio = np.asarray(spacing) / np.asarray(model.spacing)
    if (np.abs(np.log(ratio)) > np.log(1.25)).any():
        here, there = ("×".join(f"{s:.2g}" for s in values) for values in (spacing, model.spacing))
        progress.warn(f"{name}: voxels of {here} mm, the model was trained on {there} mm; expect worse results")
