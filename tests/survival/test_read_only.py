"""A place that cannot be written to, new or with results of before: a sentence, code 3, and nothing changes."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from transmodal import cli
from transmodal.reporting.toml import to_toml

Close = Callable[[], None]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[Path, Close]]:
    """A folder, and how to make it read-only with all that is in it, for root as well."""
    folder = tmp_path / "place"
    folder.mkdir()
    if os.name == "posix" and os.geteuid():
        yield folder, lambda: _modes(folder, 0o555)
        _modes(folder, 0o755)
        return

    def mount(*words: str) -> int:
        return subprocess.run(["mount", *words, str(folder)], capture_output=True, check=False).returncode

    if shutil.which("mount") is None or mount("-t", "tmpfs", "-o", "size=64m", "tmpfs"):
        pytest.skip("no right to mount a disk here")
    try:
        yield folder, lambda: None if mount("-o", "remount,ro") == 0 else pytest.skip("no right to close the disk")
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def _modes(folder: Path, mode: int) -> None:
    for path in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        path.chmod(mode)


def content(folder: Path) -> dict[str, Any]:
    return {str(path): path.is_file() and path.read_bytes() for path in folder.rglob("*")}


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("verb", ["prepare", "train", "synthesize", "synthesize one", "evaluate"])
def test_what_cannot_be_written_is_a_sentence_and_no_damage(
    place: tuple[Path, Close],
    verb: str,
    there: bool,
    cohort: Path,
    run: Path,
    table: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, close = place
    recipe = folder.parent / "tiny.toml"
    recipe.write_text(to_toml(table))
    made, measured, scan = run / "predictions" / "mean", run / "predictions" / "reference", cohort / "sub-001"
    words, again = {
        "prepare": (("prepare", cohort, "--workers", 1), ("fit_in=mask",)),
        "train": (("train", recipe, "--device", "cpu"), ("--force",)),
        "synthesize": (("synthesize", run, cohort, "--device", "cpu"), ("--force",)),
        "synthesize one": (("synthesize", run, scan / "T1w.nii.gz", "--device", "cpu"), ("--force",)),
        "evaluate": (("evaluate", made, measured, "--target", "FA"), ("--method", "mean")),
    }[verb]
    spoken = [*map(str, words), "--out", str(folder / "out"), "-q"]
    if there:
        assert cli.run(spoken) == 0
        spoken += again
    before = content(folder)
    close()
    capsys.readouterr()
    assert cli.run(spoken) == 3
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert "cannot be written" in said
    assert str(folder) in said
    assert content(folder) == before
