"""Models, recipes, tables and checkpoints that were made to do harm: a sentence, little memory, nothing executed.

Values anywhere in their JSON and bytes anywhere in their weights are changed by hypothesis, the same in every run;
benchmarks/hostile.py does it for longer, with new chances.
"""

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hostility import CHANGES, changed, fuzz, or_a_sentence
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from transmodal import registry
from transmodal.data.bring import PrepareSettings
from transmodal.data.files import read_json
from transmodal.data.grid import Grid
from transmodal.data.layout import find_cases
from transmodal.data.task import Task
from transmodal.errors import InputError, RecipeError, TransmodalError
from transmodal.evaluation.table import read_rows
from transmodal.experiment.suite import load_suite
from transmodal.inference.conformal import Calibration
from transmodal.inference.model import load_model
from transmodal.inference.onnx_engine import Graph, OnnxMethod
from transmodal.methods._facts import Facts
from transmodal.recipe import Recipe, load_recipe
from transmodal.schema import plain
from transmodal.training.checkpoint import load_checkpoint
from transmodal.training.optim import optimizer
from transmodal.training.turns import trained_parameters


@pytest.fixture
def model(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run / "model", tmp_path / "model"))


def test_any_model_json_is_a_model_or_a_sentence(model: Path) -> None:
    proper = read_json(model / "model.json")
    assert load_model(model).sha256

    @fuzz
    @given(CHANGES)
    def attack(changes: list[tuple[int, int]]) -> None:
        (model / "model.json").write_text(json.dumps(changed(proper, changes)))
        or_a_sentence(lambda: load_model(model))

    attack()


def test_any_weights_are_weights_or_a_sentence(model: Path) -> None:
    facts, proper = read_json(model / "model.json"), (model / "weights.safetensors").read_bytes()

    @fuzz
    @given(
        st.lists(st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=8)), max_size=4), st.integers(0)
    )
    def attack(edits: list[tuple[int, bytes]], cut: int) -> None:
        content = bytearray(proper)
        for at, piece in edits:
            content[at : at + len(piece)] = piece
        content = content[: len(content) - 40 * cut]
        (model / "weights.safetensors").write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        (model / "model.json").write_text(json.dumps({**facts, "sha256": digest}))
        or_a_sentence(lambda: load_model(model))

    attack()


def test_a_model_chooses_no_module_to_import(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "method.py").write_text("raise SystemExit('executed')")
    monkeypatch.syspath_prepend(str(tmp_path))
    facts = read_json(model / "model.json")
    (model / "model.json").write_text(json.dumps({**facts, "method": "evil.method"}))
    with pytest.raises(InputError, match="TRANSMODAL_METHODS=evil"):
        load_model(model)
    monkeypatch.setenv("TRANSMODAL_METHODS", "good,evil")
    with pytest.raises(SystemExit, match="executed"):
        load_model(model)


@pytest.mark.parametrize(
    "arguments", [{"width": 10**6}, {"width": 0}, {"depth": 10**7}, {"width": 2**40}, {"width": -4}]
)
def test_networks_of_any_size_are_refused_before_memory(model: Path, arguments: dict[str, int]) -> None:
    facts = read_json(model / "model.json")
    facts["arguments"] |= arguments
    (model / "model.json").write_text(json.dumps(facts))
    with pytest.raises(TransmodalError):
        load_model(model)


@pytest.mark.parametrize("place", ["targets", "sources"])
def test_no_name_leaves_the_folder(model: Path, place: str) -> None:
    facts = read_json(model / "model.json")
    facts["task"][place] = ["../../evil"]
    (model / "model.json").write_text(json.dumps(facts))
    with pytest.raises(TransmodalError, match="cannot name a modality"):
        load_model(model)


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "..", ".", "a\\b", "", "~\0"])
def test_no_case_of_a_table_leaves_the_folder(cohort: Path, tmp_path: Path, name: str) -> None:
    image = cohort / "sub-001" / "T1w.nii.gz"
    (tmp_path / "cases.tsv").write_text(f"case\tT1w\n{name}\t{image}\nother\t{image}\n")
    with pytest.raises(InputError, match="cannot name a case"):
        find_cases(tmp_path)


def test_a_grid_of_tiny_voxels_is_refused_before_memory() -> None:
    with pytest.raises(InputError, match="limit"):
        Grid((64, 64, 64), np.eye(4)).with_spacing((1e-4, 1e-4, 1e-4))


@pytest.mark.parametrize(
    ("location", "there"), [("inner.bin", True), ("../outer.bin", False), ("/etc/hostname", False)]
)
def test_a_graph_opens_no_file(
    tmp_path: Path, location: str, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights in files of their own: ONNX Runtime would read them from the current folder."""
    onnx = pytest.importorskip("onnx")
    monkeypatch.chdir(tmp_path)
    for file in (tmp_path / "inner.bin", tmp_path.parent / "outer.bin"):
        file.write_bytes(np.ones(4, np.float32).tobytes())
    weights = onnx.TensorProto(name="w", data_type=1, dims=[1, 1, 2, 2], data_location=1)
    for key, value in (("location", location), ("length", "16")):
        weights.external_data.add(key=key, value=value)
    ends = [onnx.helper.make_tensor_value_info(name, 1, [1, 1, 2, 2]) for name in ("source", "target")]
    node = onnx.helper.make_node("Add", ["source", "w"], ["target"])
    graph = onnx.helper.make_graph([node], "g", ends[:1], ends[1:], [weights])
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    path = tmp_path / "model.onnx"
    path.write_bytes(made.SerializeToString())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(InputError, match="is not a graph that ONNX Runtime can run"):
        OnnxMethod(path, Graph(sha256=digest, facts=plain(Facts("", "baseline")), axes=(2,)))


TEXTS = ["[" * 100_000, "{" * 9000, "9" * 5000, "a = " + "[" * 50_000, "\0", "[[recipe]]\nrecipe = 3",
         "case\tT1w\n" + "x" * 200_000,
         '"', "\ufeff", "case,T1w\n\"", "= 3", "a = 1e999999\n[a]", "NaN", "[1]", "case\n\0\n"]  # fmt: skip


@pytest.mark.parametrize("read", [read_json, load_recipe, load_suite, find_cases, read_rows])
def test_any_text_is_read_or_a_sentence(read: Callable[[Path], Any], tmp_path: Path) -> None:
    path = tmp_path / ("table.tsv" if read is find_cases else "text")
    for text in TEXTS:
        path.write_text(text)
        or_a_sentence(lambda: read(path))

    @fuzz
    @given(st.text(max_size=60) | st.binary(max_size=60))
    def attack(content: str | bytes) -> None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode(errors="replace"))
        or_a_sentence(lambda: read(path))

    attack()


def test_any_calibration_is_one_or_a_sentence() -> None:
    scores = tuple(i / 1000 for i in range(1001))
    proper = plain(Calibration(9, {"FA": 0.1}, {"FA": scores}))
    Calibration.from_dict(proper, "here")

    @fuzz
    @given(CHANGES)
    def attack(changes: list[tuple[int, int]]) -> None:
        def use() -> None:
            found = Calibration.from_dict(changed(proper, changes), "here")
            for target in found.scores:
                found.reach(target, 0.5)

        or_a_sentence(use)

    attack()


def test_any_checkpoint_is_one_or_a_sentence(run: Path, recipe: Recipe, tmp_path: Path) -> None:
    """Without its digest, as an older version wrote it: with one, every change is found before."""
    method = registry.build(recipe.method, recipe.task, recipe.arguments)
    assert isinstance(method, torch.nn.Module)
    parameters = trained_parameters(method.players())
    path = tmp_path / "checkpoint.safetensors"
    tensors = load_file(run / "last" / "checkpoint.safetensors")
    name = next(name for name in tensors if name.startswith("optimizer."))
    for broken, about in (
        ({}, "{}"),
        (tensors, "{"),
        (tensors, '{"step": 1, "evil": 2}'),
        (tensors, '{"processes": 0}'),
        ({k: v[:0] if v.ndim else v for k, v in tensors.items()}, "{}"),
        (tensors | {name.replace(".0.", ".zero."): tensors[name]}, "{}"),
    ):
        header = {"format": "transmodal-checkpoint-1", "recipe": recipe.hash, "progress": about}
        save_file({k: v.clone() for k, v in broken.items()}, path, metadata=header)
        optimizers = {p: optimizer(own, recipe.training.optimizer_of(p)) for p, own in parameters.items()}
        with pytest.raises(InputError):
            load_checkpoint(path, method, optimizers, None, recipe.hash)


def test_deep_json_does_not_end_the_interpreter(tmp_path: Path) -> None:
    (tmp_path / "deep.json").write_text("[" * (20 * sys.getrecursionlimit()))
    with pytest.raises(InputError, match="not valid JSON"):
        read_json(tmp_path / "deep.json")


def test_scales_of_other_targets_are_refused(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "model", tmp_path / "model")
    facts = read_json(tmp_path / "model" / "model.json")
    (tmp_path / "model" / "model.json").write_text(json.dumps({**facts, "fits": {}}))
    with pytest.raises(InputError, match=r"it has the scale of \[\] and makes \['FA'\]"):
        load_model(tmp_path / "model")


@pytest.mark.parametrize("arguments", [{"depth": 10**6}, {"width": 10**9}])
def test_networks_that_nobody_can_build_are_not_begun(arguments: dict[str, int]) -> None:
    with pytest.raises(RecipeError, match="at most 65536 can be built"):
        registry.outline("pix2pix", Task(sources=("T1w",), targets=("FA",)), arguments)


def test_a_grid_that_no_memory_holds_is_refused() -> None:
    with pytest.raises(RecipeError, match="no scan has so many voxels"):
        PrepareSettings(shape=(100_000, 100_000, 100_000))
