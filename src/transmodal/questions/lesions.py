"""The verb ``lesions``: lesions of known size and strength are put into held-out scans; how much of them survives?

::

    lesions.csv    every place, size and intensity, by method
    lesions.json   the numbers of each method, for the model card;  lesions.md  the tables
    lesions.html   one page with the curves and pictures
"""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from transmodal import progress
from transmodal.data.files import check_folder, strict, write_json, write_text
from transmodal.errors import InputError, RecipeError
from transmodal.evaluation.contrast import Probe
from transmodal.evaluation.people import leaders, shared
from transmodal.evaluation.scale import scale_of
from transmodal.experiment.judge import judge
from transmodal.questions.implants import Implants, describe, plan_implants
from transmodal.questions.subjects import Subject, check_same_ground, open_subject, with_floors
from transmodal.reporting.lesions import Picture, Survival, lesions_facts, lesions_markdown, lesions_page
from transmodal.shapes import Voxels


def lesions(
    words: Sequence[str],
    out: Path | None = None,
    *,
    diameters: Sequence[float | int] = (4, 8, 12),
    intensities: Sequence[float | int] = (0.25, 0.5, 1),
    count: int = 4,
    within: Sequence[int] = (),
    paint: bool = False,
    device: str = "auto",
) -> str:
    """Put lesions into the sources of held-out cases and look for them in what methods make.

    Args:
        words: folders of runs, or NAME=FOLDER; those with one name are folds of one method.
        out: folder to write; by default that of the only run.
        diameters: of the lesions, in mm.
        intensities: 1 is a full lesion.
        count: lesions of each case.
        within: labels of the tissue in which they may lie.
        paint: do not scan a phantom again, but paint as in any other scan.
        device: as for :func:`transmodal.load_model`.

    Returns:
        The Markdown of lesions.md.

    Raises:
        InputError: no run, no test case, or no room in any.
        RecipeError: runs of different tasks, sizes that are not above 0, several runs without ``out``.
    """
    if out is None and len(words) != 1:
        raise RecipeError("several runs need a folder for what they have in common; give --out")
    if not all(one > 0 for one in (*diameters, *intensities, count)) or max(intensities, default=2) > 1:
        raise RecipeError("give diameters above 0 mm, intensities above 0 and up to 1, and a count of 1 or more")
    subjects = [open_subject(word, device) for word in words]
    check_same_ground(subjects)
    folder = subjects[0].run.folder if out is None else out
    check_folder(folder)
    sizes, strengths = sorted(float(d) for d in diameters), sorted(float(i) for i in intensities)
    recipe = subjects[0].run.recipe
    target = recipe.data.targets[0]
    cases = {name: subject.run.dataset.case(name) for subject in subjects for name in subject.run.split.test}
    planned, notes = {}, []
    for name, case in progress.track(cases.items(), "choosing places"):
        try:
            planned[name] = plan_implants(
                case, recipe.data.sources, target, diameters=sizes, count=count, within=within, paint=paint
            )
        except InputError as problem:
            notes.append(str(problem))
    if not planned:
        raise InputError("; ".join(notes[:3]))
    everyone, probes = with_floors(subjects), list[Probe]()
    pictures: dict[str, Picture] = {}
    for name, implants in progress.track(planned.items(), "inserting lesions"):
        made = [(subject, implants) for subject in everyone if name in subject.run.split.test]
        for found, picture in _probed(made, sizes, strengths, wanted=not pictures):
            probes += found
            if picture is not None:
                pictures[name] = picture
    survival = Survival(
        method=subjects[0].label,
        target=target,
        unit=scale_of(target, next(iter(cases.values())).fits[target]).unit,
        mode=describe(planned),
        diameters=tuple(sizes),
        intensities=tuple(strengths),
        probes=probes,
        notes=notes,
        people=leaders(planned, shared({name: cases[name].subject for name in planned})),
    )
    _write(folder, survival, pictures)
    return lesions_markdown(survival)


def _probed(
    made: Sequence[tuple[Subject, Implants]], sizes: Sequence[float], strengths: Sequence[float], *, wanted: bool
) -> Iterator[tuple[list[Probe], Picture | None]]:
    """All methods on one case; each dose is put in once."""
    implants = made[0][1]
    case, plain = implants.case, {}
    probes = []
    for subject, _ in made:
        plain[subject.label], reference = _volume(subject, implants, None)
        for size in sizes:
            for sham in (False, True):
                for one in implants.spots(size, sham=sham):
                    true, found = one.contrast(reference), one.contrast(plain[subject.label])
                    probes.append(Probe(case.name, subject.label, "plain", one.place, size, 0.0, true, found))
    picture = None
    for size in sizes:
        for strength in strengths:
            images, due = implants.put(size, strength)
            after = {}
            for subject, _ in made:
                label = subject.label
                after[label] = _volume(subject, implants, images)[0]
                change = after[label] - plain[label]
                for sham, kind in ((False, "lesion"), (True, "sham")):
                    for one in implants.spots(size, sham=sham):
                        true = one.contrast(due) if kind == "lesion" else 0.0
                        probes.append(Probe(case.name, label, kind, one.place, size, strength, true,
                                            one.contrast(change)))  # fmt: skip
            if wanted and (size, strength) == (sizes[-1], strengths[-1]):
                picture = _picture(made[0][0], implants, images, due, plain, after)
    yield probes, picture


def _volume(
    subject: Subject, implants: Implants, images: dict[str, Voxels] | None
) -> tuple[Float32[np.ndarray, "X Y Z"], Float32[np.ndarray, "X Y Z"]]:
    """What a method makes of the case, and its reference, in judged units; the mean of colours."""
    judged = next(iter(judge(subject.method, subject.run, implants.case, images)))
    return judged.prediction.mean(axis=0), judged.reference.mean(axis=0)


def _picture(
    subject: Subject,
    implants: Implants,
    images: dict[str, Voxels],
    due: Float32[np.ndarray, "X Y Z"],
    plain: dict[str, Float32[np.ndarray, "X Y Z"]],
    after: dict[str, Float32[np.ndarray, "X Y Z"]],
) -> Picture:
    """The axial slice through the first lesion."""
    level = implants.lesions[0][2]
    name = implants.sources[0]
    before = np.asarray(implants.case.values(name), dtype=np.float32).mean(axis=0)
    scale = scale_of(implants.target, implants.case.fits[implants.target])
    reference = scale.of_reference(implants.case.values(implants.target)).mean(axis=0)
    return Picture(
        source=(name, before[..., level], images[name].mean(axis=0)[..., level]),
        target=(reference + due)[..., level] if implants.twin is not None else None,
        due=due[..., level],
        made={label: volume[..., level] for label, volume in after.items()},
        change={label: (volume - plain[label])[..., level] for label, volume in after.items()},
        window=scale.window,
    )


def _write(folder: Path, survival: Survival, pictures: dict[str, Picture]) -> None:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["case", "method", "kind", "i", "j", "k", "diameter", "intensity", "true", "made", "unit"])
    for one in survival.probes:
        numbers = (one.diameter, one.intensity, repr(one.true), repr(one.made))
        table.writerow([one.case, one.method, one.kind, *one.place, *numbers, survival.unit])
    write_text(folder / "lesions.csv", text.getvalue())
    write_json(folder / "lesions.json", strict(lesions_facts(survival)))
    write_text(folder / "lesions.md", lesions_markdown(survival))
    write_text(folder / "lesions.html", lesions_page(survival, pictures))
