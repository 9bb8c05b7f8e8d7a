"""Two processes never work in one folder; what one of them claimed is free once it is gone, even by a kill."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from transmodal.data.bring import PrepareSettings
from transmodal.data.claim import claimed
from transmodal.data.prepare import prepare
from transmodal.errors import InputError, Refused
from transmodal.evaluation.evaluate import evaluate
from transmodal.experiment.benchmark import benchmark
from transmodal.experiment.train import train
from transmodal.inference.files import synthesize_paths
from transmodal.recipe import Recipe
from transmodal.reporting.toml import to_toml

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no such locks")
HOLD = """
import sys
from pathlib import Path
from transmodal.data.claim import claimed
with claimed(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    """A folder that another process is working in."""
    folder = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield folder, process
        process.kill()


def test_every_verb_that_goes_on_in_a_folder_refuses_one_in_use(
    holder: tuple[Path, subprocess.Popen[str]], run: Path, cohort: Path, table: dict[str, Any], recipe: Recipe
) -> None:
    out, process = holder
    (out.parent / "one.toml").write_text(to_toml(table))
    suite = out.parent / "suite.toml"
    suite.write_text('folds = 4\nsteps = 1\n[[recipe]]\nrecipe = "one.toml"\n')
    predictions, measured = run / "predictions" / "mean", run / "predictions" / "reference"
    verbs: list[Callable[[], object]] = [
        lambda: prepare(cohort, out, PrepareSettings()),
        lambda: train(recipe, out, device="cpu", resume=True),
        lambda: synthesize_paths(run, [str(cohort)], out),
        lambda: evaluate(predictions, measured, out=out, target="FA"),
        lambda: benchmark(suite, out, device="cpu"),
    ]
    for verb in verbs:
        with pytest.raises(Refused, match="another process is working in this folder; wait until it ends"):
            verb()
        assert not list(out.iterdir())
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert evaluate(predictions, measured, out=out, target="FA")


def test_a_claim_leaves_nothing_and_ends_with_its_block(tmp_path: Path) -> None:
    for folder in (tmp_path / "fresh", tmp_path):
        with claimed(folder):
            with pytest.raises(Refused), claimed(folder):
                pass
            assert not list(folder.iterdir())
        with claimed(folder):
            pass
    assert not (tmp_path / "fresh").exists()
    with pytest.raises(ZeroDivisionError), claimed(tmp_path / "new"):
        raise ZeroDivisionError
    with claimed(tmp_path / "new"):
        (tmp_path / "new" / "file").write_text("kept")
    assert (tmp_path / "new" / "file").read_text() == "kept"
    with pytest.raises(InputError, match="is a file where a folder is needed"), claimed(tmp_path / "new" / "file"):
        pass


@pytest.mark.parametrize("killed", [True, False])
def test_who_waits_gets_the_folder_even_if_it_was_taken_away(
    holder: tuple[Path, subprocess.Popen[str]], killed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A holder that ends well removes the empty folder that it made, and with it what the lock is on."""
    folder, process = holder
    assert process.stdin is not None
    waits, told, got = threading.Event(), [], []

    def say(text: str) -> None:
        told.append(text)
        waits.set()

    def work() -> None:
        with claimed(folder, wait=True):
            got.append(folder.is_dir())
            with pytest.raises(Refused), claimed(folder):
                pass
            got.append("alone")

    monkeypatch.setattr("transmodal.progress.say", say)
    waiter = threading.Thread(target=work)
    waiter.start()
    assert waits.wait(30)
    assert not got
    assert "waiting until it has written" in told[0]
    process.kill() if killed else process.stdin.close()
    waiter.join(30)
    assert got == [True, "alone"]
