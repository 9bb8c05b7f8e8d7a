"""Pipes and devices where files are expected: a sentence at once. A pipe is waited for, and /dev/zero never ends.

Every reader works in a thread of its own, so that one that waits fails its test and does not hold up the others.
"""

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from transmodal.data.files import fingerprint, read_json, read_toml
from transmodal.data.layout import find_cases, read_table
from transmodal.data.limits import read_whole
from transmodal.data.prepared import PreparedCase
from transmodal.data.volume import read_volume
from transmodal.errors import InputError
from transmodal.evaluation.table import read_rows
from transmodal.inference.errand import _description
from transmodal.inference.model import load_model
from transmodal.inference.onnx_engine import Graph, OnnxMethod
from transmodal.nn.pretrained import digest
from transmodal.recipe import load_recipe
from transmodal.training.checkpoint import _read
from transmodal.training.monitor import read_log

PATIENCE = 20.0
"""Seconds."""


def in_time(work: Callable[[], Any]) -> Any:
    """What ``work`` gives or raises; it fails where that is not soon."""
    outcome: list[Any] = []

    def attempt() -> None:
        try:
            outcome.append((work(), None))
        except BaseException as problem:
            outcome.append((None, problem))

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert outcome, "it waits for a pipe, or reads a device that never ends"
    answer, problem = outcome[0]
    if problem is not None:
        raise problem
    return answer


def placed(kind: str, path: Path) -> Path:
    """A pipe that nobody writes to, or a link to a device, at ``path``."""
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    return path


KINDS = pytest.mark.parametrize("kind", ["pipe", "device"])
READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "recipe": ("recipe.toml", load_recipe),
    "suite": ("suite.toml", lambda path: read_toml(path, "suite")),
    "record": ("run.json", read_json),
    "table": ("cases.tsv", read_table),
    "rows": ("evaluation.csv", read_rows),
    "log": ("log.jsonl", read_log),
    "checkpoint": ("checkpoint.safetensors", _read),
    "weights": ("vgg19.pth", digest),
    "scan": ("scan.nii.gz", lambda path: fingerprint([path])),
    "graph": ("model.onnx", lambda path: OnnxMethod(path, Graph("0" * 64, {"summary": "", "paper": "baseline"}))),
}


@KINDS
@pytest.mark.parametrize("what", READERS)
def test_no_reader_waits(what: str, kind: str, tmp_path: Path) -> None:
    name, read = READERS[what]
    path = placed(kind, tmp_path / name)
    with pytest.raises(InputError, match=f"{name}: is a pipe or a device where a file is needed"):
        in_time(lambda: read(path))


@KINDS
@pytest.mark.parametrize("name", ["weights.safetensors", "calibration.json"])
def test_in_a_model(name: str, kind: str, run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "model", tmp_path / "model")
    placed(kind, tmp_path / "model" / name)
    with pytest.raises(InputError, match=f"{name}: is a pipe or a device"):
        in_time(lambda: load_model(tmp_path / "model"))


@KINDS
def test_in_a_prepared_case(kind: str, prepared: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(prepared / "cases" / "sub-001", tmp_path / "sub-001"))
    placed(kind, folder / "T1w.nii")
    with pytest.raises(InputError, match=r"T1w\.nii: is a pipe or a device"):
        in_time(lambda: PreparedCase.open(folder).values("T1w"))
    placed(kind, folder / "case.json")
    with pytest.raises(InputError, match=r"case\.json: is a pipe or a device"):
        in_time(lambda: PreparedCase.open(folder))


@KINDS
def test_among_scans(kind: str, tmp_path: Path) -> None:
    """Alone, as a slice of a series, as the values of a header, and where a volume is to be written."""
    with pytest.raises(InputError, match="neither a file nor a folder"):
        in_time(lambda: read_volume(placed(kind, tmp_path / "scan.nii.gz")))
    series = tmp_path / "series"
    series.mkdir()
    (series / "one.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 200)
    placed(kind, series / "a.dcm")
    with pytest.raises(InputError, match=r"one\.dcm"):
        in_time(lambda: read_volume(series))
    (tmp_path / "scan.mhd").write_text(
        "ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\nElementDataFile = scan.raw\n"
    )
    placed(kind, tmp_path / "scan.raw")
    with pytest.raises(InputError, match=r"scan\.raw: is a pipe or a device"):
        in_time(lambda: read_volume(tmp_path / "scan.mhd"))
    placed(kind, tmp_path / "pair.img")
    placed(kind, tmp_path / "pair.hdr")
    with pytest.raises(InputError):
        in_time(lambda: read_volume(tmp_path / "pair.hdr"))
    stack = tmp_path / "stack"
    stack.mkdir()
    (stack / "stack.json").write_text('{"spacing": [1, 1, 1], "orientation": "RAS"}')
    placed(kind, stack / "001.png")
    with pytest.raises(InputError):
        in_time(lambda: read_volume(stack))
    assert in_time(lambda: _description(tmp_path / "scan.nii.gz")) == ""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cases.tsv").write_text("case\tT1w\none\tone.nii.gz\n")
    placed(kind, tmp_path / "data" / "one.nii.gz")
    in_time(lambda: find_cases(tmp_path / "data"))


def test_a_file_of_the_largest_size_is_read_whole_and_none_beyond(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert read_whole(tmp_path / "file", 5) == b"12345"
    with pytest.raises(InputError, match="are the limit"):
        read_whole(tmp_path / "file", 4)
    with pytest.raises(IsADirectoryError):
        read_whole(tmp_path, 2**20)
    if Path("/proc/self/maps").exists():
        with pytest.raises(InputError, match="longer than it says"):
            read_whole(Path("/proc/self/maps"), 2**20)
