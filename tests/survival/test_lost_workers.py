"""Jobs on a Dask cluster: a worker that is killed in the middle costs nothing, and nothing is done twice.

The second job kills the worker that runs it: before its work, or after it and before anybody knows. What is done
is written down where it is done.
"""

import importlib
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("distributed")

from distributed import LocalCluster

from transmodal.data import cluster
from transmodal.data.workers import mapper
from transmodal.errors import InputError, RecipeError

# Workers import this file: what they do not need is imported where it is used.
# Dask's threads and sockets close when they please.
pytestmark = pytest.mark.filterwarnings("default")


@dataclass(frozen=True)
class Poisoned:
    """A function whose ``fatal``-th call in all kills the worker, once.

    Attributes:
        function: what is run.
        diary: a file with a line for every piece of work, and for every call beside it.
        work: where the work is done: a module, and the path of a function in it.
        after: kill when the work is done, not before.
        fatal: which call; none for 0.
    """

    function: Callable[[Any], Any]
    diary: Path
    work: tuple[str, str]
    after: bool
    fatal: int = 2

    def __call__(self, job: Any) -> Any:
        call = self._note("calls", "call")
        holder: Any = importlib.import_module(self.work[0])
        *path, name = self.work[1].split(".")
        for part in path:
            holder = getattr(holder, part)
        own = getattr(holder, name)

        def noted(*args: Any, **more: Any) -> Any:
            answer = own(*args, **more)
            self._note("work", "done")
            return answer

        if call == self.fatal and not self.after:
            os.kill(os.getpid(), signal.SIGKILL)
        setattr(holder, name, noted)
        try:
            answer = self.function(job)
        finally:
            setattr(holder, name, own)
        if call == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    def _note(self, kind: str, line: str) -> int:
        file = self.diary.with_suffix(f".{kind}")
        with open(file, "a") as stream:
            stream.write(line + "\n")
        return len(file.read_text().splitlines())


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=50, host="127.0.0.1"
    ) as found:
        yield found.scheduler_address


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str, str, bool], Path]:
    own = cluster._Mapper.__call__

    def put(module: str, name: str, after: bool) -> Path:
        diary = tmp_path / "diary"

        def call(mapper: Any, function: Any, jobs: Any) -> Any:
            return own(mapper, Poisoned(function, diary, (module, name), after), jobs)

        monkeypatch.setattr(cluster._Mapper, "__call__", call)
        return diary

    return put


def check_done_once(diary: Path, jobs: int = 4) -> None:
    """Jobs were given out again, at least the fatal one, and none of them was done again."""
    given, done = (diary.with_suffix(f".{kind}").read_text().splitlines() for kind in ("calls", "work"))
    assert len(given) > jobs
    assert len(done) == jobs


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix in (".nii", ".gz", ".csv")
    }


def test_prepare(address: str, poison: Any, cohort: Path, prepared: Path, tmp_path: Path) -> None:
    from transmodal.data.prepare import prepare

    diary = poison("transmodal.data.prepare", "prepare_case", after=True)
    found = prepare(cohort, tmp_path / "out", scheduler=address)
    check_done_once(diary)
    assert len(found.names) == 4
    assert content(tmp_path / "out") == content(prepared)
    assert not list((tmp_path / "out").rglob("*.part"))


def test_synthesize(
    address: str, poison: Any, run: Path, cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transmodal.inference.files import synthesize_paths

    whole = synthesize_paths(run, [str(cohort)], tmp_path / "whole", device="cpu")
    diary = poison("transmodal.inference.errand", "Errand.run", after=True)
    # Relative paths mean on the worker what they mean here.
    monkeypatch.chdir(tmp_path)
    shutil.copytree(cohort, "people")
    made = synthesize_paths(run, ["people"], Path("made"), device="cpu", scheduler=address)
    assert [path.name for path in made] == [path.name for path in whole]
    check_done_once(diary)
    assert content(tmp_path / "made") == content(tmp_path / "whole")
    # A worker that lives on and a run at home agree on what is finished.
    assert synthesize_paths(run, ["people"], Path("made"), device="cpu") == made


def test_evaluate(address: str, poison: Any, cohort: Path, tmp_path: Path) -> None:
    from transmodal.evaluation.evaluate import evaluate
    from transmodal.evaluation.table import read_rows

    made = tmp_path / "made"
    made.mkdir()
    for case in sorted(cohort.glob("sub-*")):
        shutil.copy(case / "T1w.nii.gz", made / f"{case.name}.nii.gz")
    evaluate(made, cohort, out=tmp_path / "here", target="FA")
    diary = poison("transmodal.evaluation.case", "_judged", after=False)
    evaluate(made, cohort, out=tmp_path / "there", target="FA", scheduler=address)
    check_done_once(diary)
    assert read_rows(tmp_path / "here" / "evaluation.csv") == read_rows(tmp_path / "there" / "evaluation.csv")


def broken(job: int) -> int:
    if job == 1:
        raise OSError(28, "No space left on device", "/out")
    return job


def test_errors_of_jobs_stay_what_they_are(address: str) -> None:
    with mapper(2, address) as run:
        assert list(run(str, range(20))) == [str(n) for n in range(20)]
        with pytest.raises(OSError, match="No space left"):
            list(run(broken, range(3)))


def test_nobody_at_the_address() -> None:
    with pytest.raises(InputError, match="no Dask scheduler answers there"), mapper(2, "tcp:/nowhere"):
        pass


def test_without_dask_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(RecipeError, match=r"pip install 'transmodal\[dask\]'"), mapper(2, "local"):
        pass


def test_a_single_case_needs_no_cluster(run: Path, cohort: Path, tmp_path: Path) -> None:
    from transmodal.inference.files import synthesize_paths

    image = str(cohort / "sub-001" / "T1w.nii.gz")
    with pytest.raises(RecipeError, match="--scheduler is for a folder"):
        synthesize_paths(run, [image], tmp_path / "one.nii.gz", device="cpu", scheduler="local")
