"""Whole model folders that were damaged or made to do harm, from ``model.json`` to the synthetic volume."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostility import CHANGES, changed, fuzz, or_a_sentence
from hypothesis import given, settings

from transmodal.data.files import read_json
from transmodal.data.grid import Grid
from transmodal.data.intensity import IntensityFit
from transmodal.data.traits import NUMBERS, traits
from transmodal.data.volume import Volume
from transmodal.errors import InputError, RecipeError
from transmodal.inference.choice import Choice
from transmodal.inference.files import synthesize_paths
from transmodal.inference.model import load_model


@pytest.fixture(params=["weights", "graph"])
def folder(request: pytest.FixtureRequest, run: Path, light: Path, tmp_path: Path) -> Path:
    """One with weights, or one with a graph alone."""
    return Path(shutil.copytree(run / "model" if request.param == "weights" else light, tmp_path / "model"))


@pytest.fixture
def exported(light: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(light, tmp_path / "model"))


@pytest.fixture
def scan(cohort: Path) -> str:
    return str(cohort / "sub-001" / "T1w.nii.gz")


def test_any_folder_makes_a_volume_or_a_sentence(folder: Path, scan: str, tmp_path: Path) -> None:
    proper = read_json(folder / "model.json")
    out = tmp_path / "made.nii.gz"
    assert synthesize_paths(folder, [scan], out, force=True) == [out]

    @settings(fuzz, max_examples=max(fuzz.max_examples, 60))
    @given(CHANGES)
    def attack(changes: list[tuple[int, int]]) -> None:
        (folder / "model.json").write_text(json.dumps(changed(proper, changes)))
        or_a_sentence(lambda: synthesize_paths(folder, [scan], out, force=True))
        with suppress(InputError):
            load_model(folder)

    attack()


WRONG: dict[str, Any] = {
    "onnx.batch": [-1, 65, 200_000, 10**9, 1.5],
    "onnx.multiple": [0, -4, 2**40, "x"],
    "onnx.axes": [[7], [-1], 2],
    "onnx.size": [[-1, 4], [4], [2**20, 4]],
    "onnx.facts": [{}, [], {"summary": 1, "paper": ""}],
    "onnx.players": [[1], 3],
    "onnx.speed": ["x", None, float("nan")],
    "onnx": [[1], None, {}, {"speed": "x"}, 3],
    "spacing_mm": [["a"], [0, 0, 0], [1.0], [1.0, float("nan"), 1.0], [1e9, 1, 1], None],
    "sha256": [7, "abc", None],
    "about": [[], None],
    "about.licence": [float("nan"), float("inf"), 3, "\ud800"],
    "about.pretrained": [3, [{}]],
    "profiles": [[], {"T1w": {}}, {"T1w": None}],
    "profiles.T1w.cases": [0],
    "profiles.T1w.centre": [{}, {"core": []}],
    "profiles.T1w.spread": [{"core": [0.0]}],
    "profiles.T1w.spread.size": [[0.0, 1.0, 1.0], [1e308, 1.0, 1.0], [1e-300, 1.0, 1.0], []],
    "profiles.T1w.litres": [[0.0, 1.0]],
    "fits.FA": [3, {"kind": "window"}],
    "fits.FA.scale": [1e300, float("nan"), 0],
    "method": ["x" * 5000, 3],
    "task.spatial": [3],
    "task.neighbours": [3],
    "sampling.size": [[30_000, 30_000], [24]],
    "inference": [None, {"batch_size": 0}],
}


@pytest.mark.parametrize("place", WRONG)
def test_a_wrong_value_is_a_damaged_file(place: str, exported: Path, scan: str, tmp_path: Path) -> None:
    """Not a mistake in a recipe, and not one of ours."""
    proper = read_json(exported / "model.json")
    for value in WRONG[place]:
        facts = json.loads(json.dumps(proper))
        *path, key = place.split(".")
        inner = facts
        for step in path:
            inner = inner[step]
        inner[key] = value
        (exported / "model.json").write_text(json.dumps(facts))
        with pytest.raises(InputError, match=r"model\.json"):
            synthesize_paths(exported, [scan], tmp_path / "made.nii.gz")


def test_the_onnx_table_is_checked_beside_weights_too(run: Path, scan: str, tmp_path: Path) -> None:
    """Before anything is chosen by it."""
    shutil.copytree(run / "model", tmp_path / "model")
    facts = read_json(run / "model" / "model.json")
    for table in ([1], {"speed": "x"}):
        (tmp_path / "model" / "model.json").write_text(json.dumps({**facts, "onnx": table}))
        with pytest.raises(InputError, match=r"model\.json"):
            synthesize_paths(tmp_path / "model", [scan], tmp_path / "made.nii.gz")


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_what_a_folder_does_not_hold_is_said(engine: Choice, run: Path, light: Path) -> None:
    if engine == "onnx":
        with pytest.raises(RecipeError, match="holds no graph"):
            load_model(run / "model", engine=engine)
    else:
        with pytest.raises(InputError, match=r"weights\.safetensors"):
            load_model(light, engine=engine)


def put(folder: Path, nodes: Callable[[Any], list[Any]], kind: int = 1) -> None:
    """Another graph in the place of the model's, with its digest."""
    onnx = pytest.importorskip("onnx")
    source = onnx.helper.make_tensor_value_info("source", 1, ["b", 1, "h", "w"])
    target = onnx.helper.make_tensor_value_info("target", kind, None)
    graph = onnx.helper.make_graph(nodes(onnx.helper), "g", [source], [target])
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    (folder / "model.onnx").write_bytes(made.SerializeToString())
    facts = read_json(folder / "model.json")
    facts["onnx"]["sha256"] = hashlib.sha256(made.SerializeToString()).hexdigest()
    (folder / "model.json").write_text(json.dumps(facts))


def _mean_of_planes(helper: Any) -> list[Any]:
    axes = helper.make_tensor("a", 7, [2], [2, 3])
    return [
        helper.make_node("Constant", [], ["axes"], value=axes),
        helper.make_node("ReduceMean", ["source", "axes"], ["target"], keepdims=0),
    ]


ANSWERS: dict[str, tuple[Callable[[Any], list[Any]], str]] = {
    "twice as wide": (lambda h: [h.make_node("Concat", ["source"] * 2, ["target"], axis=3)], "answers .* tiles"),
    "twice as many": (lambda h: [h.make_node("Concat", ["source"] * 2, ["target"], axis=0)], "answers .* tiles"),
    "no tiles": (_mean_of_planes, "answers .* tiles"),
    "one number": (lambda h: [h.make_node("ReduceMax", ["source"], ["target"], keepdims=0)], "answers .* tiles"),
    "double": (lambda h: [h.make_node("Cast", ["source"], ["target"], to=11)], "float64"),
    "two channels": (lambda h: [h.make_node("Concat", ["source"] * 2, ["target"], axis=1)], "2 channels"),
}


@pytest.mark.parametrize("what", ANSWERS)
def test_a_graph_that_answers_with_something_else(what: str, exported: Path, scan: str, tmp_path: Path) -> None:
    nodes, said = ANSWERS[what]
    put(exported, nodes, 11 if what == "double" else 1)
    with pytest.raises(InputError, match=said):
        synthesize_paths(exported, [scan], tmp_path / "made.nii.gz", force=True)
    assert not (tmp_path / "made.nii.gz").exists()


def _bomb(helper: Any, ones: int) -> list[Any]:
    """The largest of so many ones, times the source."""
    shape = helper.make_tensor("s", 7, [1], [ones])
    return [
        helper.make_node("Constant", [], ["shape"], value=shape),
        helper.make_node("ConstantOfShape", ["shape"], ["big"], value=helper.make_tensor("v", 1, [1], [1.0])),
        helper.make_node("ReduceMax", ["big"], ["most"], keepdims=0),
        helper.make_node("Mul", ["source", "most"], ["target"]),
    ]


def test_a_graph_gets_no_more_memory_than_there_is(exported: Path, scan: str, tmp_path: Path) -> None:
    put(exported, lambda helper: _bomb(helper, 15 * 10**11))
    with pytest.raises(InputError, match="the memory does not hold even"):
        synthesize_paths(exported, [scan], tmp_path / "made.nii.gz", force=True)


WITH_LITTLE_MEMORY = """
import sys
from transmodal.inference import arena
arena.free_memory = lambda: 2e9
from transmodal.cli import run
code = run(sys.argv[1:])
import resource
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
sys.exit(code)
"""


def test_a_graph_is_held_to_the_arena(exported: Path, scan: str, tmp_path: Path) -> None:
    """6 GB that the machine may well have; in a process of its own, for the arena is made once."""
    put(exported, lambda helper: _bomb(helper, 15 * 10**8))
    words = ["synthesize", str(exported), scan, "--out", str(tmp_path / "made.nii.gz"), "--force"]
    done = subprocess.run(
        [sys.executable, "-c", WITH_LITTLE_MEMORY, *words], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, "the memory does not hold even" in done.stderr) == (3, True), done.stderr
    assert "onnxruntime:" not in done.stderr
    assert int(done.stdout.split()[-1]) * 1024 < 2e9


@pytest.mark.parametrize("asked", [{"shape": [600, 600, 600]}, {"spacing": 0.3}])
def test_no_scan_is_blown_up(asked: dict[str, Any], exported: Path, scan: str, tmp_path: Path) -> None:
    facts = read_json(exported / "model.json")
    facts["prepare"] |= asked
    (exported / "model.json").write_text(json.dumps(facts))
    with pytest.raises(InputError, match="voxels of each"):
        synthesize_paths(exported, [scan], tmp_path / "made.nii.gz", force=True)


def test_traits_have_as_many_numbers_as_is_said() -> None:
    values = np.random.default_rng(0).normal(size=(1, 20, 24, 28)).astype(np.float32)
    image = Volume(values, Grid((20, 24, 28), np.diag([2.0, 2.0, 2.0, 1.0])), "made up")
    where = np.ones((20, 24, 28), dtype=bool)
    found = traits(image, where, IntensityFit("zscore", 0.0, 1.0))
    assert {group: len(found[group]) for group in NUMBERS} == NUMBERS
