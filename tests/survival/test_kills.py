"""SIGKILL at any instant: every file is whole or absent, and run again, the work ends as if nothing had happened.

Each verb runs in a process of its own that kills itself at a chosen one of its operations on files (open to write,
rename, remove, make a folder): these are the instants between which the folder differs. Instants are drawn with a
seed. benchmarks/kills.py does it for as long as one likes, with new chances, and every second time by the clock,
so that writing itself is interrupted, and sometimes twice on end.
"""

import json
import multiprocessing
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tally import TALLY

from transmodal.data.bring import PrepareSettings
from transmodal.data.phantom.cohort import PhantomSettings, write_cohort
from transmodal.data.prepare import prepare
from transmodal.data.volume import read_volume
from transmodal.evaluation.table import read_rows
from transmodal.inference import export
from transmodal.inference.graph import Written
from transmodal.reporting.toml import to_toml
from transmodal.training.monitor import read_log

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link")
SOAK = int(os.environ.get("TRANSMODAL_KILLS", 0))
"""Kills of each verb in a soak; 0 in the test suite, where every verb has its own number."""
_CHANGING = ("speed", "seconds", "Seconds", "price", "about", "seconds_per_volume", "environment")


def _work(words: Sequence[str], place: str, at: int, limit: int, report: str, graph: str) -> None:
    """Run a command; die at its ``at``-th change below ``place``, or say how many changes it made.

    With the file of a ``graph``, a model is exported as that: writing one takes many times as long as all else.
    """
    import resource

    from transmodal import cli

    torch.set_num_threads(1)
    changes = 0
    if graph:
        found = Written(Path(graph).read_bytes(), 0, (), ("source",))
        export.write_graph = lambda *given: found  # type: ignore[assignment]

    def watch(event: str, args: tuple[Any, ...]) -> None:
        nonlocal changes
        opened = event == "open" and isinstance(args[2], int) and args[2] & _WRITES
        if not (opened or event in _CHANGES) or not str(args[0]).startswith(place):
            return
        changes += 1
        if changes == at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    with open(report, "w") as sys.stderr:
        code = cli.run([*words, "-q"])
    if code == 0 and not limit:
        Path(report).write_text(f"{changes}")
    os._exit(code)


@pytest.fixture(scope="module")
def server() -> Any:
    """Processes forked from one that has imported everything and holds no thread."""
    context = multiprocessing.get_context("forkserver")
    modules = ("experiment.benchmark", "evaluation.evaluate", "inference.export")
    context.set_forkserver_preload([f"transmodal.{module}" for module in modules])
    return context


class Verb:
    """A command, run in processes that can be killed."""

    def __init__(self, server: Any, place: Path):
        self.server, self.place = server, place
        self.report = place.parent / "report"
        self.graph = ""

    def __call__(self, *words: object, at: int = 0, after: float = 120, limit: int = 0) -> int:
        """Run to the end, to the ``at``-th change, or for so many seconds."""
        own = ([str(word) for word in words], str(self.place), at, limit, str(self.report), self.graph)
        process = self.server.Process(target=_work, args=own)
        process.start()
        process.join(after)
        if after < 120:
            process.kill()
            process.join()
        assert process.exitcode is not None, "the command hangs"
        return int(process.exitcode)

    @property
    def said(self) -> str:
        return self.report.read_text()


@pytest.fixture
def verb(server: Any, tmp_path: Path) -> Verb:
    (tmp_path / "place").mkdir()
    return Verb(server, tmp_path / "place")


def check_whole(folder: Path) -> None:
    """Every file that has its own name can be read to its end."""
    for path in folder.rglob("*"):
        if any(part.startswith(".") for part in path.relative_to(folder).parts) or not path.is_file():
            continue
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.name == "log.jsonl":
            read_log(path)
        elif path.name == "evaluation.csv":
            assert read_rows(path)
        elif path.name.endswith((".nii", ".nii.gz")):
            assert read_volume(path, label=True).data.size
        elif path.suffix == ".safetensors":
            load_file(path)
        else:
            assert path.stat().st_size, path


def content(folder: Path) -> dict[str, Any]:
    """What a folder says, but for times and for what TensorBoard keeps."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        timed = path.name.startswith(("comparison", "price")) or path.suffix == ".html"
        if not path.is_file() or "tensorboard" in name or timed or path.name == "previous.safetensors":
            continue
        if path.suffix == ".json":
            found[name] = timeless(json.loads(path.read_text()))
        elif path.name == "log.jsonl":
            found[name] = timeless(read_log(path))
        elif path.name == "checkpoint.safetensors":
            found[name] = {key: value.numpy().tobytes() for key, value in load_file(path).items()}
        elif path.name == "README.md":
            # It tells how long things took; other numbers are in other files.
            found[name] = re.sub(r"[\d.]+", "#", path.read_text())
        else:
            found[name] = path.read_bytes()
    return found


def timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: timeless(inner) for key, inner in value.items() if key not in _CHANGING}
    return [timeless(inner) for inner in value] if isinstance(value, list) else value


def survive(
    verb: Verb, words: Sequence[object], again: Sequence[object], out: str, *, kills: int, seed: int
) -> None:
    """Run once undisturbed; then, from the same start, killed at some instants, and once more to its end."""
    start = verb.place.parent / "start"
    shutil.copytree(verb.place, start)
    begin = time.monotonic()
    assert verb(*words) == 0, verb.said
    seconds = time.monotonic() - begin
    changes, whole = int(verb.said), content(verb.place / out)
    assert changes > 3
    for death in deaths(changes, seconds, kills, seed):
        shutil.rmtree(verb.place)
        shutil.copytree(start, verb.place)
        for how in death:
            code = verb(*next_words(verb.place / out, words, again), **how)
            assert code == -signal.SIGKILL or (code == 0 and "after" in how), verb.said
            TALLY["commands killed"] += code != 0
            check_whole(verb.place)
            if code == 0:
                break
        else:
            assert verb(*next_words(verb.place / out, words, again)) == 0, (death, verb.said)
        after = content(verb.place / out)
        assert after.keys() == whole.keys(), (death, changes)
        for name, value in whole.items():
            assert after[name] == value, (death, changes, name)
        TALLY["finished all the same"] += 1


def next_words(folder: Path, words: Sequence[object], again: Sequence[object]) -> Sequence[object]:
    return again if folder.is_dir() and any(folder.iterdir()) else words


def deaths(changes: int, seconds: float, kills: int, seed: int) -> list[list[dict[str, Any]]]:
    """One after the other, what a command suffers before it may finish."""
    chance = np.random.default_rng(None if SOAK else seed)
    count = min(SOAK or kills, changes)
    instants = sorted(chance.choice(np.arange(1, changes + 1), count, replace=False))
    if not SOAK:
        return [[{"at": int(at)}] for at in instants]
    clocked = [{"after": float(chance.uniform(0, min(seconds, 100)))} for _ in instants]
    mixed = ([{"at": int(at)}, clock] if number % 4 == 0 else [clock] if number % 2 else [{"at": int(at)}]
             for number, (at, clock) in enumerate(zip(instants, clocked, strict=True)))  # fmt: skip
    return list(mixed)


def test_prepare(verb: Verb, cohort: Path) -> None:
    words = ("prepare", cohort, "--out", verb.place / "out", "--workers", 1)
    survive(verb, words, words, "out", kills=4, seed=1)


GAME = {"name": "cyclegan", "width": 4, "blocks": 1, "critic_width": 4, "critic_layers": 1, "pool": 3}


@pytest.fixture
def game(table: dict[str, Any], tmp_path: Path) -> Path:
    """A recipe with four players' optimisers, a schedule, an average and history pools."""
    file = tmp_path / "game.toml"
    training = table["training"] | {"steps": 5, "save_every": 1, "log_every": 2, "validate_every": 2}
    evaluation = {"metrics": ["MAE"], "floors": ["identity"]}
    file.write_text(to_toml(table | {"method": GAME, "training": training, "evaluation": evaluation}))
    return file


def test_train(verb: Verb, game: Path) -> None:
    words = ("train", game, "--out", verb.place / "run", "--device", "cpu")
    survive(verb, words, (*words, "--resume"), "run", kills=5, seed=2)


def test_synthesize_a_folder(verb: Verb, run: Path, cohort: Path) -> None:
    words = ("synthesize", run, cohort, "--out", verb.place / "out", "--device", "cpu")
    survive(verb, words, words, "out", kills=5, seed=3)


@pytest.fixture(scope="module")
def graph(run: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The tiny model's."""
    light = tmp_path_factory.mktemp("light") / "model"
    export.export(run / "model", light)
    return str(light / "model.onnx")


def test_export_beside_the_weights(verb: Verb, run: Path, graph: str) -> None:
    verb.graph = graph
    shutil.copytree(run / "model", verb.place / "out")
    (verb.place / "out" / "notes").mkdir()
    words = ("export", verb.place / "out", "--onnx")
    survive(verb, words, words, "out", kills=4, seed=6)


def test_export_over_an_older_one(verb: Verb, run: Path, graph: str) -> None:
    verb.graph = graph
    out = verb.place / "out"
    out.mkdir()
    shutil.copy(run / "model" / "model.json", out)
    (out / "model.onnx").write_bytes(b"an older graph")
    words = ("export", run / "model", "--onnx", "--out", out, "--force")
    survive(verb, words, words, "out", kills=4, seed=7)


def test_calibrate(verb: Verb, run: Path, tmp_path: Path) -> None:
    settings = PhantomSettings(subjects=6, size=(24, 24, 24), spacing=8.5, contrasts=("T1w", "T2w", "FA"))
    people = write_cohort(tmp_path / "people", settings, workers=1)
    known = tuple(f"sub-00{number}" for number in range(1, 5))
    prepare(people, tmp_path / "prepared", PrepareSettings(exclude=known))
    shutil.copytree(run, verb.place / "out")
    words = ("calibrate", verb.place / "out", "--data", tmp_path / "prepared", "--device", "cpu")
    survive(verb, words, words, "out", kills=3, seed=8)


@pytest.mark.parametrize("words", [(), ("--passport",)])
def test_evaluate(verb: Verb, cohort: Path, words: tuple[str, ...]) -> None:
    made = verb.place.parent / "made"
    for case in sorted(cohort.glob("sub-*")):
        made.mkdir(exist_ok=True)
        shutil.copy(case / "T1w.nii.gz", made / f"{case.name}.nii.gz")
    words = ("evaluate", made, cohort, "--target", "FA", "--out", verb.place / "out", "--workers", "1", *words)
    survive(verb, words, words, "out", kills=3, seed=4)


def test_benchmark(verb: Verb, table: dict[str, Any]) -> None:
    folder = verb.place.parent / "suite"
    folder.mkdir()
    for name, width in (("one", 2), ("two", 4)):
        changes = {"method": table["method"] | {"width": width}, "evaluation": {"metrics": ["MAE"], "floors": []}}
        (folder / f"{name}.toml").write_text(to_toml(table | changes))
    (folder / "suite.toml").write_text(
        'folds = 3\nsteps = 3\n[[recipe]]\nrecipe = "one.toml"\n[[recipe]]\nrecipe = "two.toml"\n'
    )
    words = ("benchmark", folder / "suite.toml", "--out", verb.place / "out", "--device", "cpu")
    survive(verb, words, words, "out", kills=2, seed=5)


@pytest.mark.parametrize("limit", [0, 3000, 20_000])
def test_a_disk_that_is_full_is_a_sentence_and_no_damage(
    verb: Verb, game: Path, run: Path, cohort: Path, limit: int
) -> None:
    """A limit on the size of files makes writing fail in the middle, as a full disk does."""
    closed = Path("/proc/closed") if not limit else verb.place
    for words in (
        ("prepare", cohort, "--out", closed / "prepared", "--workers", 1),
        ("synthesize", run, cohort, "--out", closed / "made", "--device", "cpu"),
        ("train", game, "--out", closed / "run", "--device", "cpu"),
        ("evaluate", run / "predictions" / "mean", run / "predictions" / "reference", "--out", closed / "scores"),
    ):
        code = verb(*words, limit=limit)
        assert code in (3, 4, 0), verb.said
        assert "Traceback" not in verb.said
        assert (code == 0) == (not verb.said.strip()), (words, verb.said)
        if verb.place.exists():
            check_whole(verb.place)
            assert not [path for path in verb.place.rglob(".*") if path.name.endswith(".part")]
