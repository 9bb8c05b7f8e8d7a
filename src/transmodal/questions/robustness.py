"""Robustness: what a method loses when its sources do not lie on each other.

The protocol after the perturbation study of AGI-Net (https://arxiv.org/abs/2411.14684), for any method: the runs
are judged again on their own test cases, with sources moved by known random amounts. The target is never touched,
every method sees the same moves, and the runs may have been trained on data as they are (perturbed at test time
only) or on moved data (``sampling.misalign``); the two are never pooled.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from transmodal import progress
from transmodal.data.files import check_folder, write_bytes, write_text
from transmodal.data.motion import UNITS, Misalignment, Motion, misalign
from transmodal.data.prepared import PreparedCase
from transmodal.data.tile import PLANES
from transmodal.data.volume import Volume
from transmodal.errors import RecipeError
from transmodal.evaluation.people import by_subject, shared
from transmodal.evaluation.table import Row, write_rows
from transmodal.experiment.judge import judge, score_judged
from transmodal.experiment.run import Run
from transmodal.inference.predict import tile_size
from transmodal.questions.offsets import Answer, Follows, follow, offsets_table, watched, write_offsets
from transmodal.questions.subjects import Subject, check_same_ground, open_subject, with_floors
from transmodal.reporting.charts import bands
from transmodal.reporting.curves import curve_table, find_curves
from transmodal.schema import make

METRICS = ("MAE", "PSNR", "SSIM")


def robustness(
    words: Sequence[str],
    out: Path,
    *,
    kind: str = "translation",
    sizes: Sequence[float | int] = (0, 1, 2, 4),
    moved: Sequence[str] = (),
    draws: int = 3,
    device: str = "auto",
) -> str:
    """Judge runs with moved sources; write the rows, the curves and the offsets of rolled convolutions.

    Args:
        words: folders of runs, or NAME=FOLDER; those with one name are folds of one method.
        out: folder for robustness.csv, robustness.md, robustness.png, and offsets.csv where there are routers.
        kind: of the motion; see :class:`~transmodal.data.motion.Misalignment`.
        sizes: the largest motion of each point of the curve; 0 is the run's own score.
        moved: sources; by default all but the first. Each moves on its own.
        draws: motions of each case and size, whose scores are averaged.
        device: as for :func:`transmodal.load_model`.

    Returns:
        The Markdown of robustness.md.

    Raises:
        InputError: no run, or no test case.
        RecipeError: runs of different tasks, an unknown source, fewer than two sizes.
    """
    check_folder(out)
    table = {"kind": kind, "moved": list(moved)}
    steps = [make(Misalignment, {**table, "size": float(size)}, "robustness") for size in sizes]
    subjects = [open_subject(word, device) for word in words]
    sources, steps = _check(subjects, steps, draws)
    subjects = with_floors(subjects)
    found: dict[tuple[str, float, str, str], list[Row]] = {}
    answers: dict[tuple[str, str], list[Answer]] = {}
    jobs = [(subject, name) for subject in subjects for name in subject.run.split.test]
    for subject, name in progress.track(jobs, "moving sources"):
        case = subject.run.dataset.case(name)
        for step in steps:
            for draw in range(draws if step.size else 1):
                motions = _motions(step, sources, case, _axis(subject.run), draw)
                with watched(subject.method, _seen(subject)) as learned:
                    rows = list(_judged(subject, case, motions, step))
                for row in rows:
                    found.setdefault((subject.label, step.size, name, row.metric), []).append(row)
                if learned and kind in ("translation", "subvoxel"):
                    for source, motion in motions.items():
                        shift = _shift(motion, case, _axis(subject.run))
                        answer = Answer(str(subject.run.folder), shift, learned)
                        answers.setdefault((subject.label, source), []).append(answer)
    rows = [replace(own[0], value=float(np.mean([row.value for row in own]))) for own in found.values()]
    write_rows(out / "robustness.csv", rows)
    follows = [row for (label, source), heard in answers.items() for row in follow(label, source, heard)]
    people = shared({name: own.run.dataset.case(name).subject for own in subjects for name in own.run.split.test})
    return _written(out, by_subject(rows, people), steps, sources, draws, follows)


def _check(
    subjects: list[Subject], steps: list[Misalignment], draws: int
) -> tuple[tuple[str, ...], list[Misalignment]]:
    if draws < 1 or len({step.size for step in steps}) < 2:
        raise RecipeError("a curve needs at least two different sizes, and one draw or more")
    check_same_ground(subjects)
    if len({_axis(subject.run) for subject in subjects}) > 1:
        raise RecipeError("the runs see different planes, in which they would be moved differently; compare like")
    sources = max(steps, key=lambda step: step.size).who(subjects[0].run.recipe.data.sources)
    return sources, sorted(steps, key=lambda step: step.size)


def _axis(run: Run) -> int | None:
    """The axis of the slices that are looked at; None where there is none, or several."""
    planes = run.recipe.inference.planes or (run.recipe.sampling.view,)
    if len(planes) > 1 or planes[0] == "patch":
        return None
    return PLANES.get(planes[0], PLANES["axial"])


def _seen(subject: Subject) -> tuple[int, ...]:
    """Voxels of a tile along the axes of the networks; nothing where several planes are mixed."""
    axis = _axis(subject.run)
    if axis is None and subject.run.recipe.sampling.view != "patch":
        return ()
    size = tile_size(subject.run.recipe.sampling, subject.method.multiple, axis)
    return tuple(n for along, n in enumerate(size) if along != axis)


def _motions(
    step: Misalignment, sources: tuple[str, ...], case: PreparedCase, axis: int | None, draw: int
) -> dict[str, Motion]:
    """The same for every method: chance knows the case, the source, the kind and the size."""
    motions = {}
    for source in sources:
        if source in case.modalities:
            key = f"{case.name}/{source}/{step.kind}/{step.size:g}/{draw}"
            motions[source] = step.draw(np.random.default_rng([*key.encode()]), case.grid, axis)
    return motions if step.size else dict.fromkeys(motions, Motion())


def _shift(motion: Motion, case: PreparedCase, axis: int | None) -> np.ndarray:
    voxels = np.linalg.inv(case.grid.affine[:3, :3]) @ np.asarray(motion.translation_mm)
    return np.array([v for along, v in enumerate(voxels) if along != axis])


def _judged(subject: Subject, case: PreparedCase, motions: dict[str, Motion], step: Misalignment) -> Iterator[Row]:
    images = {name: np.asarray(case.values(name)) for name in subject.run.recipe.data.sources
              if name in case.modalities}  # fmt: skip
    for name, motion in motions.items():
        images[name] = misalign(Volume(images[name], case.grid, name), motion).data
    for judged in judge(subject.method, subject.run, case, images):
        region = f"{step.kind} {step.size:g}"
        if len(subject.run.recipe.data.targets) > 1:
            region = f"{judged.target} {region}"
        yield from score_judged(judged, subject.label, METRICS, region=region)


def _written(
    out: Path,
    rows: list[Row],
    steps: list[Misalignment],
    sources: tuple[str, ...],
    draws: int,
    follows: list[Follows],
) -> str:
    kind, unit = steps[0].kind, UNITS[steps[0].kind]
    parts = [
        f"Moved: {', '.join(sources)}, each on its own, by up to the given {unit} ({kind}); "
        f"mean over {draws} draws of a case, 95 % interval over people."
    ]
    curves = find_curves(rows, [(f"{kind} {step.size:g}", step.size) for step in steps])
    parts += [curve_table(title, named, unit) for title, named in curves.items()]
    (out / "offsets.csv").unlink(missing_ok=True)
    if follows:
        write_offsets(out / "offsets.csv", follows)
        parts.append("Offsets of rolled convolutions that follow the shift most closely; slope 1 would undo it:")
        parts.append(offsets_table(follows))
    text = "\n\n".join(parts) + "\n"
    write_text(out / "robustness.md", text)
    write_bytes(out / "robustness.png", bands(curves, f"{kind} of {', '.join(sources)} ({unit})"))
    return text
