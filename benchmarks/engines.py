"""What runs a generator fastest, and what bounds a whole volume. Run it on a quiet machine.

    python benchmarks/engines.py [slices | volume] [NAME ...] [T1W.nii.gz]

``slices``: every generator, each engine in a process of its own, the processes taking turns, so that a machine
that drifts drifts for all and no engine's waiting threads disturb another. ``volume``: the scan given, or a noisy
ball of 182 × 218 × 182 voxels, T1w → FA, from file to file, and how much of it passes in the networks. Prints
Markdown for benchmarks/README.md.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from shutil import copyfile
from typing import Any

import numpy as np
import torch

from transmodal import registry
from transmodal.data.bring import PrepareSettings
from transmodal.data.grid import Grid
from transmodal.data.intensity import IntensityFit
from transmodal.data.sampling import Sampling
from transmodal.data.task import Task
from transmodal.data.volume import Volume, write_volume
from transmodal.inference import predict as prediction
from transmodal.inference.engine import Samples
from transmodal.inference.export import export
from transmodal.inference.files import synthesize_paths
from transmodal.inference.graph import write_graph
from transmodal.inference.model import Model, save_model
from transmodal.inference.onnx_engine import Graph, OnnxMethod
from transmodal.inference.torch_engine import as_batch, torch_runner
from transmodal.machine import environment
from transmodal.nn.convnd import use_channels_last

ROUNDS, EDGE, BATCH = 5, 256, 8
PLANE = (192, 224)
"""What a model of such volumes is trained on: the smallest multiple of 32 that holds a slice."""
GENERATORS: dict[str, dict[str, Any]] = {
    "regression": {},
    "pix2pix": {},
    "cyclegan": {},
    "macro2micro": {"perceptual_weight": 0.0},
    "aginet": {},
    "mrnet": {"encoder": "conv_pyramid"},
    "colorization": {"segmentation_weight": 0.0, "decoders": "single"},
    "segmentation": {},
}
ENGINES = ("eager", "channels last", "bf16", "compiled", "compiled, bf16", "ONNX Runtime")
Run = Callable[[Samples], Any]


def task(name: str) -> Task:
    return Task(targets=("cryo" if name == "colorization" else "FA",))


def engine(kind: str, name: str) -> Run:
    """The generator called ``name``, run by ``kind``."""
    torch.manual_seed(0)
    method: Any = registry.build(name, task(name), GENERATORS[name]).eval().requires_grad_(False)
    if kind == "ONNX Runtime":
        written = write_graph(method, task(name), 2, (EDGE, EDGE))
        path = Path(tempfile.mkdtemp()) / "model.onnx"
        path.write_bytes(written.content)
        known = Graph(sha256(written.content).hexdigest(), {"summary": "", "paper": ""}, multiple=method.multiple,
                      axes=(2,), batch=written.batch, size=written.size)  # fmt: skip
        return OnnxMethod(path, known).run
    if kind != "eager":
        use_channels_last(method)
    if "compiled" not in kind:
        return torch_runner(method, "bf16" if "bf16" in kind else "fp32")
    inductor = import_module("torch._inductor.config")
    inductor.freezing = True  # type: ignore[attr-defined]
    compiled = torch.compile(method.translate)

    def run(samples: Samples) -> Any:
        # Freezing needs no_grad: inference mode would not let it fold the weights.
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled="bf16" in kind):
            return compiled(as_batch(samples).to(torch.device("cpu"))).float().numpy()

    return run


def slices_of(count: int) -> Samples:
    chance = np.random.default_rng(0)
    return Samples(
        source=chance.uniform(-1, 1, (count, 1, EDGE, EDGE)).astype(np.float32),
        present=np.ones((count, 1), dtype=bool),
        mask=np.ones((count, 1, EDGE, EDGE), dtype=bool),
        extent=np.zeros((count, 3, 2), dtype=np.float32),
        axis=2,
    )


def product_rate() -> float:
    """10⁹ multiply-accumulates a second of a large matrix product in float32."""
    a = torch.rand(1024, 1024)
    start = time.perf_counter()
    for _ in range(4):
        a @ a
    return 4 * 1024**3 / (time.perf_counter() - start) / 1e9


def serve(kind: str, name: str) -> None:
    """One engine: a line for every line it is given."""
    job: Callable[[], Any] = product_rate if kind == "product" else partial(engine(kind, name), slices_of(BATCH))
    job()
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        answer = job()
        print(answer if kind == "product" else 1e3 * (time.perf_counter() - start) / BATCH, flush=True)


def slices(names: list[str]) -> None:
    for name in names or list(GENERATORS):
        servers = {}
        for kind in (*ENGINES, "product"):
            words = [sys.executable, __file__, "serve", kind, name]
            server = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            if _line(server) == "ready":
                servers[kind] = server
        taken: dict[str, list[float]] = {kind: [] for kind in servers}
        for _ in range(ROUNDS):
            for kind, server in servers.items():
                assert server.stdin is not None
                server.stdin.write("go\n")
                server.stdin.flush()
                taken[kind].append(float(_line(server)))
        for server in servers.values():
            server.communicate()
        gmac = registry.gmac(name, registry.outline(name, task(name), GENERATORS[name]), task(name), (EDGE, EDGE))
        rate = statistics.median(taken.pop("product"))
        print(f"\n{name} {GENERATORS[name] or ''}: {gmac:.1f} GMAC a slice of {EDGE} × {EDGE}, batch {BATCH}")
        print(f"(matrix products: {rate:.0f} GMAC/s)\n\n| | ms a slice | times as fast | of the products' rate |")
        print("|---|---:|---:|---:|")
        for kind, values in taken.items():
            ratio = statistics.median(b / v for v, b in zip(values, taken["eager"], strict=True))
            share = gmac / (statistics.median(values) / 1e3) / rate
            print(f"| {kind} | {statistics.median(values):.1f} | {ratio:.2f} | {share:.0%} |", flush=True)


def _line(server: "subprocess.Popen[str]") -> str:
    assert server.stdout is not None
    return server.stdout.readline().strip()


def volume(names: list[str]) -> None:
    """From file to file, by both engines in turn."""
    scans = [name for name in names if Path(name).is_file()]
    for name in [name for name in names if name not in scans] or ["regression", "pix2pix"]:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            method: Any = registry.build(name, Task(targets=("FA",)), GENERATORS[name]).eval()
            made = Model(name, method, GENERATORS[name], Task(targets=("FA",)), Sampling(size=PLANE),
                         PrepareSettings(), prediction.InferenceSettings(), {"FA": IntensityFit(
                             "window", 0.5, 0.5, -1.0, 1.0)}, (1.0, 1.0, 1.0))  # fmt: skip
            save_model(made, root / "model")
            export(root / "model")
            if scans:
                copyfile(scans[0], root / "T1w.nii.gz")
            else:
                write_volume(head(), root / "T1w.nii.gz", dtype="float32", description="made up")
            taken: dict[str, list[dict[str, float]]] = {"torch": [], "onnx": []}
            for _ in range(3):
                for kind, found in taken.items():
                    words = [sys.executable, __file__, "once", kind, folder]
                    done = subprocess.run(words, capture_output=True, text=True, check=True)
                    found.append(json.loads(done.stdout.splitlines()[-1]))
        scan = Path(scans[0]).name if scans else "a ball of 182 × 218 × 182"
        print(f"\n{name}, {scan}, T1w → FA, file to file\n\n| | s | in the networks |\n|---|---:|---:|")
        for kind, found in taken.items():
            whole, inside = (statistics.median(one[key] for one in found) for key in ("whole", "networks"))
            print(f"| {kind} | {whole:.1f} | {inside / whole:.0%} |", flush=True)


def head() -> Volume:
    """A noisy ball of about the size of a head in noisy air, 1 mm."""
    shape, affine = (182, 218, 182), np.diag([1.0, 1.0, 1.0, 1.0])
    lines = np.meshgrid(*[np.linspace(-1.2, 1.2, n) for n in shape], indexing="ij", sparse=True)
    ball = sum(line**2 for line in lines) < 1
    noise = np.random.default_rng(0).normal(0, 80, shape)
    return Volume(np.where(ball, 600 + noise, np.abs(noise)).astype(np.float32)[None], Grid(shape, affine), "head")


def once(kind: str, folder: str) -> None:
    """One volume in a fresh process; says how long it took, and how much of that its engine."""
    inside = 0.0
    plain = prediction.runner

    def timed(*given: Any) -> Run:
        run = plain(*given)

        def clocked(samples: Samples) -> Any:
            nonlocal inside
            start = time.perf_counter()
            answer = run(samples)
            inside += time.perf_counter() - start
            return answer

        return clocked

    prediction.runner = timed
    root = Path(folder)
    start = time.perf_counter()
    words = [str(root / "T1w.nii.gz")]
    synthesize_paths(root / "model", words, root / "FA.nii.gz", engine=kind, force=True)  # type: ignore[arg-type]
    print(json.dumps({"whole": time.perf_counter() - start, "networks": inside}))


if __name__ == "__main__":
    part, *rest = sys.argv[1:] or ["all"]
    if part == "serve":
        serve(rest[0], rest[1])
    elif part == "once":
        once(rest[0], rest[1])
    else:
        facts = environment()
        print(f"{facts['processor']}, {facts['cores']} cores, torch {facts['versions']['torch']}, no GPU used")
        for job in (slices, volume):
            if part in ("all", job.__name__):
                job(rest)
