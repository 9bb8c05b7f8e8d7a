"""An exported model: the same volumes, the same sidecars, and no torch; a wrong graph is never handed over."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from transmodal.data.intensity import IntensityFit
from transmodal.errors import InputError, RecipeError, Refused, TransmodalError
from transmodal.inference import export as exporting
from transmodal.inference import onnx_engine
from transmodal.inference.choice import pick
from transmodal.inference.engine import Samples
from transmodal.inference.files import synthesize_paths
from transmodal.inference.graph import Written
from transmodal.inference.model import load_model, save_model
from transmodal.inference.onnx_engine import Graph, OnnxMethod
from transmodal.methods._facts import Facts
from transmodal.schema import plain

pytestmark = pytest.mark.filterwarnings("ignore")  # the exporter warns about itself

WITHOUT_TORCH = """
import sys

class Wall:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "lightning_fabric", "safetensors", "matplotlib"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Wall())
from transmodal.cli import run
code = run(sys.argv[1:])
assert "torch" not in sys.modules
sys.exit(code)
"""


def test_an_exported_model_is_used_without_torch(run: Path, light: Path, cohort: Path, tmp_path: Path) -> None:
    graph = load_model(light).method.graph
    assert (graph.batch, graph.size, graph.axes) == (0, (), (0, 1, 2))
    assert graph.difference < 1e-5
    assert {path.name for path in light.iterdir()} == {"README.md", "model.json", "model.onnx"}
    image = cohort / "sub-001" / "T1w.nii.gz"
    (heavy,) = synthesize_paths(run / "model", [str(image)], tmp_path / "torch" / "fa.nii.gz", engine="torch")
    words = ["synthesize", str(light), str(image), "--out", str(tmp_path / "onnx" / "fa.nii.gz")]
    command = [sys.executable, "-c", WITHOUT_TORCH, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "computed by ONNX Runtime" in done.stderr
    command[-3:] = [str(image), "--out", str(tmp_path / "none.nii.gz")]
    command[-4] = str(run / "model")
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, "pip install 'transmodal[train]'" in done.stderr) == (2, True)
    one, two = (nib.load(path) for path in (heavy, tmp_path / "onnx" / "fa.nii.gz"))
    assert one.header == two.header
    assert np.abs(one.get_fdata() - two.get_fdata()).max() < 1e-3
    sidecars = [json.loads((tmp_path / side / "fa.json").read_text()) for side in ("torch", "onnx")]
    assert [s.pop("Engine").split()[0] for s in sidecars] == ["PyTorch", "ONNX"]
    for sidecar in sidecars:
        del sidecar["Seconds"]
    np.testing.assert_allclose(*(s.pop("ValueRange") for s in sidecars), atol=1e-3)
    assert sidecars[0] == sidecars[1]


def test_a_forecast_and_the_doctor_need_no_torch(light: Path, cohort: Path, tmp_path: Path) -> None:
    for scans in (cohort / "sub-001" / "T1w.nii.gz", cohort):
        words = ["synthesize", str(light), str(scans), "--out", str(tmp_path / "made"), "--dry-run"]
        command = [sys.executable, "-c", WITHOUT_TORCH, *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        found = re.search(r"synthesis takes about ([\d.]+) GB of memory", done.stdout)
        assert found, done.stdout
        assert 0.05 < float(found[1]) < 2
        assert not (tmp_path / "made").exists()
    for words in (["doctor"], ["doctor", "--json"]):
        command = [sys.executable, "-c", WITHOUT_TORCH, *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert "exported models can be used, and nothing can be trained" in done.stdout
        assert "threads" not in done.stdout


def test_a_graph_that_answers_otherwise_is_not_handed_over(
    run: Path, light: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The graph of one model beside the weights of another."""
    model = load_model(run)
    shutil.copytree(run / "model", tmp_path / "other")
    for weight in model.method.parameters():
        weight.mul_(1.05)
    save_model(model, tmp_path / "other")
    before = {path.name: path.read_bytes() for path in (tmp_path / "other").iterdir()}
    stolen = Written((light / "model.onnx").read_bytes(), 0, (), ("source",))
    monkeypatch.setattr(exporting, "write_graph", lambda *given: stolen)
    with pytest.raises(TransmodalError, match=r"differs from the networks by .* nothing was written"):
        exporting.export(tmp_path / "other")
    assert {path.name: path.read_bytes() for path in (tmp_path / "other").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_beside_the_weights_both_engines_can_be_chosen(
    run: Path, light: Path, cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both, image = tmp_path / "both", str(cohort / "sub-002" / "T1w.nii.gz")
    shutil.copytree(run / "model", both)
    (both / "NOTICE").write_text("ours")
    graph = Written((light / "model.onnx").read_bytes(), 0, (), ("source",))
    monkeypatch.setattr(exporting, "write_graph", lambda *given: graph)
    known = exporting.export(both, images=[image])
    assert known.checked == ("a made-up volume", "T1w.nii.gz")
    assert {path.name for path in both.iterdir()} == {
        *("NOTICE", "README.md", "model.json", "model.onnx", "weights.safetensors")
    }
    assert hasattr(load_model(both).method, "translate")
    made = []
    for engine in ("torch", "onnx"):
        (path,) = synthesize_paths(both, [image], tmp_path / f"{engine}.nii.gz", engine=engine)
        made.append(nib.load(path).get_fdata())
    assert 0 < np.abs(made[0] - made[1]).max() < 1e-5
    with pytest.raises(Refused, match="--force"):
        exporting.export(both, tmp_path)
    content = bytearray((both / "model.onnx").read_bytes())
    content[-1] ^= 1
    (both / "model.onnx").write_bytes(content)
    with pytest.raises(InputError, match="sha256"):
        load_model(both, engine="onnx")


@pytest.fixture
def both(run: Path, light: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model into which the graph of ``light`` is exported at once."""
    shutil.copytree(run / "model", tmp_path / "both")
    graph = Written((light / "model.onnx").read_bytes(), 0, (), ("source",))
    monkeypatch.setattr(exporting, "write_graph", lambda *given: graph)
    return tmp_path / "both"


def test_beside_the_weights_nothing_else_changes(both: Path, tmp_path: Path) -> None:
    (both / "notes").mkdir()
    (both / "notes" / "mine.txt").write_text("ours")
    record = tmp_path / "record.json"
    (both / "model.json").rename(record)
    (both / "model.json").symlink_to(record)
    (tmp_path / "link").symlink_to("both")

    def rest() -> dict[str, bytes]:
        files = [path for path in both.rglob("*") if path.is_file()]
        return {str(path): path.read_bytes() for path in files if path.name not in ("model.json", "model.onnx")}

    before = rest()
    for _ in range(2):
        exporting.export(tmp_path / "link")
        assert rest() == before
        assert len(list(both.rglob("*"))) == len(before) + 3
        assert "onnx" in json.loads(record.read_text())
    assert [path.name for path in sorted(tmp_path.iterdir()) if path.is_symlink()] == ["link"]
    assert (both / "model.json").is_symlink()


@pytest.mark.parametrize("killed_at", ["model.onnx", "model.json"])
def test_a_kill_while_a_graph_is_put_beside_the_weights_leaves_a_model(
    both: Path, cohort: Path, monkeypatch: pytest.MonkeyPatch, killed_at: str
) -> None:
    """Over a graph of before, which has another digest."""
    exporting.export(both)
    facts = json.loads((both / "model.json").read_text())
    (both / "model.onnx").write_bytes(b"an older one")
    facts["onnx"]["sha256"] = hashlib.sha256(b"an older one").hexdigest()
    (both / "model.json").write_text(json.dumps(facts))
    plain, last = os.replace, []

    def killed(source: Path, to: Path) -> None:
        last.append(Path(to).name)
        if last[-1] == killed_at and (killed_at == "model.onnx" or "model.onnx" in last):
            raise KeyboardInterrupt
        plain(source, to)

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", killed)
        with pytest.raises(KeyboardInterrupt):
            exporting.export(both)
    out = both.with_name("fa.nii.gz")
    assert synthesize_paths(both, [str(cohort / "sub-001" / "T1w.nii.gz")], out) == [out]
    exporting.export(both)
    load_model(both, engine="onnx")


def test_a_model_that_was_about_to_be_replaced_is_found(run: Path, tmp_path: Path) -> None:
    for place in ("model", "run/model"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        shutil.copytree(run / "model", (tmp_path / place).with_name(".model.replaced"))
    for path in (tmp_path / "model", tmp_path / "run"):
        assert load_model(path).sha256 == load_model(run).sha256
    assert not list(tmp_path.rglob(".*"))


def test_which_engine_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    facts = plain(Facts("", "baseline"))
    faster, slower = Graph("", facts, speed=2.0), Graph("", facts, speed=0.8)
    assert pick("auto", True, None, "auto", "fp32") == "torch"
    assert pick("auto", True, faster, "auto", "fp32") == "onnx"
    assert pick("auto", True, slower, "cpu", "fp32") == "torch"
    assert pick("onnx", True, slower, "cpu", "fp32") == "onnx"
    assert pick("auto", True, faster, "cuda", "fp32") == "torch"
    assert pick("auto", True, faster, "auto", "bf16") == "torch"
    assert pick("auto", False, slower, "auto", "fp32") == "onnx"
    with pytest.raises(RecipeError, match="holds no graph"):
        pick("onnx", True, None, "auto", "fp32")
    with pytest.raises(RecipeError, match="without weights"):
        pick("torch", False, faster, "auto", "fp32")
    with pytest.raises(RecipeError, match="bf16"):
        pick("auto", False, faster, "auto", "bf16")
    with pytest.raises(RecipeError, match="cuda"):
        pick("onnx", True, faster, "cuda", "fp32")
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/nvidia-smi")
    assert pick("auto", True, faster, "auto", "fp32") == "torch"


@pytest.mark.parametrize(
    ("said", "meant"),
    [("3", 3), ("2,1", 2), (" 2 , 4", 2), ("", 7), ("0", 7), ("-3", 7), ("many", 7), ("²", 7), ("9" * 5000, 7)],
)
def test_threads_are_counted_as_openmp_counts_them(said: str, meant: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One number a level of nesting; what is no number is no fault of the model's."""
    monkeypatch.setattr(onnx_engine, "cores", lambda: 7)
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert onnx_engine._threads() == meant


def test_the_difference_is_a_share_of_the_range() -> None:
    fits = {"CT": IntensityFit("window", 1000.0, 2000.0, -1.0, 1.0), "T2w": IntensityFit("zscore", 5.0, 2.0)}
    ct, t2 = np.zeros((1, 2, 2, 2), np.float32), np.linspace(0, 70, 8, dtype=np.float32).reshape(1, 2, 2, 2)
    assert exporting.difference({"CT": ct}, {"CT": ct + 4}, fits) == pytest.approx(4 / 4000)
    assert exporting.difference({"CT": ct, "T2w": t2}, {"CT": ct + 4, "T2w": t2 - 7}, fits) == pytest.approx(0.1)
    assert exporting.difference({"T2w": ct}, {"T2w": ct}, fits) == 0
    assert exporting.difference({"T2w": ct}, {"T2w": ct + 1}, fits) == np.inf


def test_a_graph_of_one_size_says_so(light: Path) -> None:
    method = load_model(light).method
    given = Samples(
        np.zeros((3, 1, 24, 24), np.float32), np.ones((3, 1), bool), np.ones((3, 1, 24, 24), bool),
        np.zeros((3, 3, 2), np.float32), 0,
    )  # fmt: skip
    whole = method.run(given)
    alone = OnnxMethod(light / "model.onnx", replace(method.graph, batch=2, size=(24, 24), axes=(0,)))
    np.testing.assert_allclose(alone.run(given), whole, atol=1e-6)
    with pytest.raises(RecipeError, match=r"tiles of \[24, 24\], not \[24, 48\]"):
        alone.run(replace(given, source=np.zeros((3, 1, 24, 48), np.float32), mask=np.ones((3, 1, 24, 48), bool)))
    with pytest.raises(RecipeError, match="makes sagittal slices"):
        alone.run(replace(given, axis=2))
