"""One case of an evaluation: read, compared, and remembered until all of the others are done too."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from importlib.metadata import version
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

import numpy as np
import torch

from transmodal.data.files import read_json, write_json
from transmodal.data.modality import modality
from transmodal.data.volume import made_of
from transmodal.errors import InputError
from transmodal.evaluation.comparison import Comparison, Score
from transmodal.evaluation.features import Seen, load_extractor
from transmodal.evaluation.opened import Opened, open_pair
from transmodal.evaluation.pairs import Pair
from transmodal.evaluation.passport import Passport, take_passport
from transmodal.evaluation.score import score
from transmodal.evaluation.table import Row
from transmodal.nn.features import VGG19

FINISHED = ".finished"
"""Folder in the evaluation's own with one file for each finished case; gone when all are done."""


@dataclass(frozen=True)
class Way:
    """How all cases are judged; the words of :func:`~.evaluate.evaluate`."""

    method: str
    target: str | None
    data_range: float | None
    passport: bool
    features: Path | None


@dataclass(frozen=True)
class Job:
    """One case to judge.

    Attributes:
        pair: its files.
        way: how.
        memory: folder that remembers finished cases; None to remember nothing.
    """

    pair: Pair
    way: Way
    memory: Path | None


@dataclass(frozen=True)
class Outcome:
    """What became of a case: rows, with its passport if one was asked for; or a sentence on what is wrong."""

    pair: Pair
    rows: Sequence[Row]
    passport: Passport | None = None
    problem: str = ""


def judge(job: Job) -> Outcome:
    """Judge one case, unless it is remembered from an evaluation that did not come to its end.

    Raises:
        InputError: what is found cannot be written down; a case that cannot be judged is an outcome.
    """
    try:
        note = None if job.memory is None else job.memory / f"{_key(job)}.json"
        if note is not None and (known := _remembered(note, job)) is not None:
            return known
        outcome = _judged(job)
    except InputError as problem:
        return Outcome(job.pair, [], problem=str(problem))
    if note is not None:
        write_json(note, _as_json(outcome))
    return outcome


def extractor_of(way: Way) -> VGG19 | None:
    """The network of the passport's ``features``, read once in each process; None where none is asked for."""
    return None if way.features is None or not way.passport else _extractor(way.features)


_extractor = lru_cache(maxsize=1)(load_extractor)


def _judged(job: Job) -> Outcome:
    pair, way = job.pair, job.way
    helper = parent_process() is not None
    if helper:
        # There is a process for every core already.
        torch.set_num_threads(1)
    kind = modality(way.target or "reference")
    case = open_pair(pair, with_labels=way.passport)
    if way.passport:
        found = take_passport(
            _compare(case, way), case=pair.case, method=way.method, extractor=extractor_of(way),
            at_once=1 if helper else 2,
        )  # fmt: skip
        return Outcome(pair, found.rows, replace(found, subject=pair.subject))
    size = (
        kind.window[1] - kind.window[0] if way.data_range is None and kind.window is not None else way.data_range
    )
    rows = score(
        case.made, case.measured, case.inside, case=pair.case, method=way.method, data_range=size, unit=kind.unit
    )
    return Outcome(pair, rows)


def _key(job: Job) -> str:
    """A digest of everything that the outcome depends on: files by place, size and time, settings, version."""
    pair, way = job.pair, job.way
    files = [pair.prediction, pair.reference, pair.mask, pair.labels, way.features if way.passport else None]
    stats = [
        [(str(one.absolute()), one.stat().st_size, one.stat().st_mtime_ns) for one in made_of(path)]
        for path in files
        if path is not None
    ]
    told = [pair.case, [path is not None for path in files], stats, asdict(way), version("transmodal")]
    return hashlib.sha256(json.dumps(told, default=str).encode()).hexdigest()


def _as_json(outcome: Outcome) -> dict[str, Any]:
    passport = outcome.passport
    if passport is None:
        return {"rows": [_spelt(row) for row in outcome.rows]}
    seen = passport.seen and {
        "score": _spelt(passport.seen.score),
        "prediction": passport.seen.prediction.tolist(),
        "reference": passport.seen.reference.tolist(),
        "origin": passport.seen.origin,
    }
    scores = {name: [_spelt(score) for score in scores] for name, scores in passport.scores.items()}
    return {"scores": scores, "absent": dict(passport.absent), "seen": seen}


def _spelt(row: Row | Score) -> dict[str, Any]:
    # JSON knows no infinity; repr gives back the same float.
    return asdict(row) | {"value": repr(float(row.value))}


def _remembered(note: Path, job: Job) -> Outcome | None:
    """What a note says; None without one, or when it is not ours."""
    try:
        stored = read_json(note) if note.is_file() else None
        if stored is None:
            return None
        if "rows" in stored:
            return Outcome(job.pair, [Row(**_read_value(row)) for row in stored["rows"]])
        scores = {name: [Score(**_read_value(s)) for s in found] for name, found in stored["scores"].items()}
        seen = stored["seen"] and Seen(
            Score(**_read_value(stored["seen"]["score"])),
            torch.tensor(stored["seen"]["prediction"]),
            torch.tensor(stored["seen"]["reference"]),
            stored["seen"]["origin"],
        )
        passport = Passport(job.pair.case, job.way.method, scores, stored["absent"], seen, job.pair.subject)
        return Outcome(job.pair, passport.rows, passport)
    except (InputError, KeyError, TypeError, ValueError):
        return None


def _read_value(stored: Mapping[str, Any]) -> dict[str, Any]:
    return {**stored, "value": float(stored["value"])}


def _compare(case: Opened, way: Way) -> Comparison:
    # Metrics compute in float64, slab by slab; float32 on disk is kept as it is.
    made, truth = (
        torch.from_numpy(np.array(v, dtype=np.float32 if v.dtype == np.float32 else np.float64))
        for v in (case.made, case.measured)
    )
    inside, marks = (None if v is None else torch.from_numpy(np.array(v)) for v in (case.inside, case.labels))
    return Comparison(made, truth, inside, marks, modality(way.target or "reference"), way.data_range)
