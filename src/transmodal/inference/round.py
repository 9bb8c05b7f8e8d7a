"""Round: a folder or a table of cases, errand after errand, here or by the workers of a Dask cluster."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

from transmodal import __version__, progress
from transmodal.data import bids
from transmodal.data.claim import claimed
from transmodal.data.files import clear_leftovers, read_json, write_json
from transmodal.data.layout import CaseFiles, find_cases
from transmodal.data.workers import cores, mapper
from transmodal.errors import InputError, PartialFailure, Refused, TransmodalError, of_library
from transmodal.inference.choice import Name
from transmodal.inference.errand import GENERATED_BY, Errand, Wish
from transmodal.inference.model import Model, load_model
from transmodal.inference.predict import InferenceSettings
from transmodal.inference.synthesize import pick_device

_FAILURES = "failures.json"


@dataclass(frozen=True)
class Source:
    """Where a worker gets the model from.

    Attributes:
        folder: of the model.
        sha256: of its weights, so that a worker that lives on does not use those of before.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        engine: that computes it.
        inference: how volumes are put together.
    """

    folder: Path
    sha256: str
    device: str
    engine: Name
    inference: InferenceSettings

    def model(self) -> Model:
        """The model, read again."""
        device = pick_device(self.device) if self.engine == "torch" else "cpu"
        loaded = load_model(self.folder, device, self.engine)
        return replace(loaded, inference=self.inference)


@dataclass(frozen=True)
class Stop:
    """One case of a round.

    Attributes:
        case: its name.
        images: source → file.
        mask: of the head, if there is one.
        targets: target → volume to write.
        wish: what is asked.
        root: the BIDS data set that the case belongs to.
        source: of the model.
    """

    case: str
    images: Mapping[str, Path]
    mask: Path | None
    targets: Mapping[str, Path]
    wish: Wish
    root: Path | None
    source: Source


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    Attributes:
        case: its name.
        written: the volumes and folders that are there now.
        kept: whether an earlier run made them.
        problem: what is wrong with it, or nothing.
        refused: whether that is for a guard to say.
    """

    case: str
    written: Sequence[Path] = ()
    kept: bool = False
    problem: str = ""
    refused: bool = False


def go_round(
    model: Model, source: Source, dataset: Path, out: Path, wish: Wish, scheduler: str = ""
) -> list[Path]:
    """Synthesise every case of a dataset; one that a library fails on, or that is too large, costs no other one.

    Args:
        model: that makes them.
        source: where workers of a cluster get it from.
        dataset: a folder or a table.
        out: folder to write.
        wish: what is asked of every case.
        scheduler: of a Dask cluster, or nothing.

    Returns:
        The volumes and folders written.

    Raises:
        PartialFailure: some cases failed; the others are written.
        InputError: none could be done, or ``out`` is the data set itself or holds another's files.
        Refused: a guard refused all, or another process is working in ``out``.
    """
    stops = _stops(model, source, dataset, out, wish)
    _check_place(out, stops[0].root if stops else None)
    with claimed(out):
        return _settle(_visit(model, stops, out, scheduler), dataset, out)


def _check_place(out: Path, root: Path | None) -> None:
    """Refuse a folder in which a file of somebody else would be replaced."""
    if root is not None and out.resolve() == root.resolve():
        raise InputError(
            f"--out {out}: is the data set itself, whose {bids.DESCRIPTION} would be replaced; give a folder of "
            f"its own, such as {root / 'derivatives' / 'transmodal'}"
        )
    for name in (_FAILURES, *([bids.DESCRIPTION] if root is not None else [])):
        if (out / name).exists() and not _is_ours(out / name):
            raise InputError(
                f"{out / name}: was not written by Transmodal, and would be replaced; move it away, or choose "
                "another --out"
            )


def _is_ours(path: Path) -> bool:
    """Whether a JSON file says that it was made by this package."""
    try:
        return any(one["Name"] == GENERATED_BY[0]["Name"] for one in read_json(path)["GeneratedBy"])
    except (InputError, LookupError, TypeError):
        return False


def _visit(model: Model, stops: Sequence[Stop], out: Path, scheduler: str) -> list[Outcome]:
    clear_leftovers(out)
    if stops and stops[0].root is not None:
        name = f"Synthetic {', '.join(model.task.targets)} by {model.name}"
        write_json(out / bids.DESCRIPTION, bids.description(name, __version__, stops[0].root))
    outcomes: list[Outcome] = []
    with mapper(min(cores(), len(stops)) if scheduler else 1, scheduler) as run:
        for outcome in progress.track(
            run(_do_there if scheduler else partial(_do, model), stops), "synthesising", len(stops)
        ):
            progress.note(outcome.case)
            if outcome.problem:
                progress.warn(f"{outcome.case}: {outcome.problem}")
            outcomes.append(outcome)
    # Of workers that were lost.
    clear_leftovers(out)
    return outcomes


def _stops(model: Model, source: Source, dataset: Path, out: Path, wish: Wish) -> list[Stop]:
    root = dataset if bids.is_bids(dataset) else None

    def stop(case: CaseFiles) -> Stop:
        images = {name: case.images[name] for name in model.task.sources if name in case.images}
        named = root is not None and case.name.startswith("sub-")
        made = list(images.values())
        targets = {
            target: out / (bids.derived_path(case.name, made, target, model.name) if named
                           else f"{case.name}_synth-{target}.nii.gz")
            for target in model.task.targets
        }  # fmt: skip
        return Stop(case.name, images, case.mask, targets, wish, root, source)

    return [stop(case) for case in find_cases(dataset, model.prepare.entities)]


def _do(model: Model, stop: Stop) -> Outcome:
    """Synthesise one case, unless an earlier run did."""
    try:
        errand = Errand(model, stop.images, stop.mask, stop.targets, stop.wish, stop.root)
        if not stop.wish.force and errand.is_finished:
            return Outcome(stop.case, errand.outputs, kept=True)
        return Outcome(stop.case, errand.run(go_on=True))
    except TransmodalError as problem:
        return Outcome(stop.case, problem=str(problem), refused=isinstance(problem, Refused))
    except (RuntimeError, MemoryError) as problem:
        return Outcome(stop.case, problem=of_library(problem))


def _do_there(stop: Stop) -> Outcome:
    """The same by a worker, which keeps the model for its next case."""
    return _do(_model_of(stop.source), stop)


_model_of = lru_cache(maxsize=1)(Source.model)


def _settle(outcomes: Sequence[Outcome], dataset: Path, out: Path) -> list[Path]:
    """What was written; or the error that says what was not."""
    failures = {one.case: one.problem for one in outcomes if one.problem}
    written = [path for one in outcomes for path in one.written]
    if kept := sum(one.kept for one in outcomes):
        progress.say(f"{kept} of {len(outcomes)} cases were finished before, by this model from these scans; kept")
    if failures and not written:
        kind = Refused if all(one.refused for one in outcomes) else InputError
        first = next(iter(failures.values()))
        raise kind(f"{dataset}: none of {len(outcomes)} cases could be done; the first: {first}")
    if failures:
        write_json(out / _FAILURES, {"GeneratedBy": GENERATED_BY, "Failures": failures})
        raise PartialFailure(
            f"{len(failures)} of {len(outcomes)} cases failed ({', '.join(failures)}); the others are in {out}, "
            f"the reasons in {out / _FAILURES}",
            failures,
        )
    (out / _FAILURES).unlink(missing_ok=True)
    return written
