"""Speed as ratios, both sides interleaved in one run, so that a machine that drifts drifts for both.

    python benchmarks/speed.py [machine | slice | colorization | rolling | data | features]

Prints Markdown for benchmarks/README.md. Times are medians; ratios are medians of the ratios within a round.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import count, cycle, product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK
import torch

from transmodal import registry
from transmodal.data.batch import Batch
from transmodal.data.bring import PrepareSettings
from transmodal.data.loader import Loader
from transmodal.data.phantom.cohort import PhantomSettings, write_cohort
from transmodal.data.prepare import prepare
from transmodal.data.prepared import PreparedDataset
from transmodal.data.sampling import Sampling
from transmodal.data.task import Task
from transmodal.evaluation.score import score
from transmodal.inference.predict import InferenceSettings, Scan, Translation, predict
from transmodal.machine import environment
from transmodal.nn.convnd import use_channels_last
from transmodal.nn.rolling import Mode, choose, possible, rolled_conv
from transmodal.training.loop import make_fabric
from transmodal.training.settings import TrainingSettings
from transmodal.training.turns import play, trained_parameters

ROUNDS = 7

MODES: tuple[Mode, ...] = ("shift", "circular")
ROLLED = ((1, 64, 96), (4, 64, 128), (4, 128, 64), (4, 256, 32), (4, 512, 16), (16, 512, 8))
"""Batch, channels and edge: the levels of AGI-Net's network for slices of 128 × 128, and two extremes."""


def interleaved(sides: dict[str, Callable[[], Any]]) -> dict[str, list[float]]:
    """Milliseconds of every side in every round, after one round that does not count."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(ROUNDS + 1):
        for name, job in sides.items():
            start = time.perf_counter()
            job()
            if number:
                taken[name].append(1e3 * (time.perf_counter() - start))
    return taken


def table(title: str, sides: dict[str, Callable[[], Any]]) -> None:
    taken = interleaved(sides)
    base = next(iter(taken))
    print(f"\n{title}\n\n| | ms | ratio to the first |\n|---|---:|---:|")
    for name, values in taken.items():
        ratio = statistics.median(v / b for v, b in zip(values, taken[base], strict=True))
        print(f"| {name} | {statistics.median(values):.1f} | {ratio:.2f} |")


def training_step(name: str, arguments: dict[str, Any], precision: str, channels_last: bool) -> Callable[[], Any]:
    return step_of(registry.build(name, Task(), arguments), precision, channels_last, 8, 128)


def step_of(method: Any, precision: str, channels_last: bool, batch_size: int, size: int) -> Callable[[], Any]:
    """A training step; every call of it has a batch of its own."""
    if channels_last:
        use_channels_last(method)
    fabric = make_fabric(TrainingSettings(precision=precision), "cpu")  # type: ignore[arg-type]
    parameters = trained_parameters(method.players())
    optimizers = {player: torch.optim.Adam(own.values()) for player, own in parameters.items()}
    ones = torch.ones(batch_size, 1, size, size, dtype=torch.bool)
    sources = cycle(images(batch_size, size))

    def step() -> None:
        source = next(sources)
        if channels_last:
            source = source.contiguous(memory_format=torch.channels_last)
        batch = Batch(source, ones[:, :1, 0, 0], ones, torch.zeros(batch_size, 3, 2), 2, target=source.flip(-1))
        play(method, [batch], optimizers, parameters, dict.fromkeys(parameters, 0.0), fabric)

    return step


def images(batch_size: int, size: int) -> list[torch.Tensor]:
    """Sources for every round, the same ones for everybody."""
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(batch_size, 1, size, size, generator=generator) for _ in range(ROUNDS + 1)]


def features() -> None:
    """A training step of MRNet as recipes/mrnet_default.toml has it: what its frozen encoder costs."""
    default = {"encoder_taps": "neck", "allow_random": True}
    with tempfile.TemporaryDirectory() as folder:
        kept = registry.build("mrnet", Task(), {**default, "encoder_cache": "float16"})
        kept.encoder.remember(Path(folder))
        for image in images(1, 256):
            kept.features(image)
        # Every file is then read for the first time in its process, and from the disk.
        kept.encoder.remember(Path(folder))
        forget(Path(folder))
        held = registry.build("mrnet", Task(), default)
        answer: list[Any] = []

        def once(x: torch.Tensor) -> Any:
            answer[:] = answer or [held.encoder(x)]
            return answer[0]

        held.features = once
        methods = {
            "no encoder, no fusion": registry.build("mrnet", Task(), {"encoder": "none"}),
            "features in memory: fusion alone": held,
            "features kept on disk": kept,
            "features computed": registry.build("mrnet", Task(), default),
        }
        sides = {label: step_of(method, "bf16", True, 1, 256) for label, method in methods.items()}
        table("One training step of MRNet (width 64, SAM ViT-B's neck at 512), batch 1, 256 × 256, bf16", sides)


def forget(folder: Path) -> None:
    """Let the system drop what it holds in memory of the files below a folder."""
    os.sync()
    for path in folder.rglob("*.npy"):
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def one_slice() -> None:
    """The generators of pix2pix and Macro2Micro."""
    arguments = {"macro2micro": {"decoder_slope": 1.0, "perceptual_weight": 0.0}}
    through({"pix2pix": "U-Net-256", "macro2micro": "2023 preset"}, arguments, "FA")


def colorization() -> None:
    """The colouriser and the generator of CycleGAN."""
    through({"cyclegan": "ResNet-9", "colorization": "defaults"}, {"colorization": {"decoders": "single"}}, "cryo")


def through(published: dict[str, str], arguments: dict[str, dict[str, Any]], target: str) -> None:
    """A slice of 256 × 256, batch of one, through published generators: eager, compiled, ONNX Runtime."""
    sides: dict[str, Callable[[], Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, label in published.items():
            method = registry.build(name, Task(targets=(target,)), arguments.get(name, {}))
            use_channels_last(method)
            image = torch.rand(1, 1, 256, 256).contiguous(memory_format=torch.channels_last)
            network = Translate(method).eval().requires_grad_(False)
            compiled = torch.compile(network)
            session = exported(network, image, Path(folder) / f"{name}.onnx")
            feed = {"source": image.numpy()}
            sides[f"{name} ({label}), eager"] = partial(quietly, network, image)
            sides[f"{name}, eager, bf16"] = partial(quietly, network, image, True)
            sides[f"{name}, compiled"] = partial(quietly, compiled, image)
            sides[f"{name}, ONNX Runtime"] = partial(session.run, None, feed)
        table(f"One slice of 256 × 256 to {target}, batch 1", sides)


def rolling() -> None:
    """A rolled convolution of four groups, forward and backward, as a multiple of a plain one of the same size."""
    ways = [(mode, path) for mode in MODES for path in possible(mode, "in", 1)]
    print(
        "\n| batch, channels, size | precision | plain (ms) | "
        + " | ".join(f"{m}, by {p}" for m, p in ways)
        + " |"
    )
    print("|---|---|---:|" + "---:|" * len(ways))
    for (batch, channels, size), dtype in product(ROLLED, (torch.float32, torch.bfloat16)):
        x = torch.randn(batch, channels, size, size, dtype=dtype)
        x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
        weight = torch.randn(channels, channels, 3, 3, dtype=dtype, requires_grad=True)
        offset = (torch.rand(batch, 4, 2) - 0.5).requires_grad_()
        given = (x, weight, offset, torch.rand(batch, 4).requires_grad_())
        sides: dict[str, Callable[[], Any]] = {"plain": partial(there_and_back, plain, *given)}
        for mode, path in ways:
            rolled = partial(rolled_conv, mode=mode, path=path)
            sides[f"{mode} {path}"] = partial(there_and_back, rolled, *given)
        taken = interleaved(sides)
        cells = []
        for mode, path in ways:
            pairs = zip(taken[f"{mode} {path}"], taken["plain"], strict=True)
            ratio = f"{statistics.median(v / b for v, b in pairs):.2f}"
            chosen = choose(x, weight, mode=mode, axis="in", stride=1) == path
            cells.append(f"**{ratio}**" if chosen else ratio)
        name = str(dtype).removeprefix("torch.")
        milliseconds = statistics.median(taken["plain"])
        print(f"| {batch}, {channels}, {size}² | {name} | {milliseconds:.1f} | {' | '.join(cells)} |", flush=True)


def plain(x: torch.Tensor, weight: torch.Tensor, offset: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.conv2d(x, weight, padding=1)


def there_and_back(function: Callable[..., torch.Tensor], *given: torch.Tensor) -> None:
    function(*given).sum().backward()


class Translate(torch.nn.Module):
    """A method as a function of its source alone."""

    def __init__(self, method: Any) -> None:
        super().__init__()
        self.method = method

    def forward(self, source: torch.Tensor) -> torch.Tensor:
        """The target."""
        ones = torch.ones_like(source, dtype=torch.bool)
        made: torch.Tensor = self.method.translate(Batch(source, ones[:, :, 0, 0], ones, torch.zeros(1, 3, 2), 2))
        return made


def quietly(network: Callable[..., Any], image: torch.Tensor, bf16: bool = False) -> None:
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        network(image)


def exported(network: torch.nn.Module, image: torch.Tensor, path: Path) -> Any:
    import onnxruntime

    torch.onnx.export(network, (image,), str(path), dynamo=True, input_names=["source"], verbose=False)
    options = onnxruntime.SessionOptions()
    # Left to itself it takes every core, whatever PyTorch was told.
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def machine() -> None:
    """Training steps, data, and a whole volume."""
    small = {
        "regression": {"width": 16},
        "pix2pix": {"depth": 5, "width": 32, "critic_width": 32, "norm": "instance"},
    }
    for name, arguments in small.items():
        table(
            f"One training step, {name} {arguments}, batch 8, 128 × 128",
            {
                "fp32": training_step(name, arguments, "fp32", False),
                "fp32, channels last": training_step(name, arguments, "fp32", True),
                "bf16 autocast, channels last (the default here)": training_step(name, arguments, "bf16", True),
            },
        )
    with tempfile.TemporaryDirectory() as folder:
        settings = PhantomSettings(subjects=4, contrasts=("T1w", "T2w"))
        start = time.perf_counter()
        cohort = write_cohort(Path(folder) / "cohort", settings)
        drawn = time.perf_counter() - start
        start = time.perf_counter()
        dataset = prepare(cohort, Path(folder) / "prepared", PrepareSettings())
        brought = time.perf_counter() - start
        print(f"\nPhantom, 2 contrasts of 96³: {drawn / 4:.2f} s a subject. Prepare: {brought / 4:.2f} s a case.")
        sampling = Sampling(size=(96, 96))
        loader = Loader(dataset, dataset.names, Task(), sampling, batch_size=8)
        start = time.perf_counter()
        for step in range(50):
            loader.batch(step)
        print(f"Loader: {1e3 * (time.perf_counter() - start) / 50:.1f} ms for a batch of 8 slices.")
        case = dataset.case(dataset.names[0])
        method = registry.build("pix2pix", Task(), small["pix2pix"]).eval()
        fast = registry.build("pix2pix", Task(), small["pix2pix"]).eval()
        use_channels_last(fast)

        def whole(network: Any, precision: str) -> Callable[[], Any]:
            chosen = InferenceSettings(precision=precision)  # type: ignore[arg-type]
            scan = Scan({"T1w": case.values("T1w")}, case.fits, case.mask())
            return lambda: predict(Translation(network, Task(), sampling, chosen), scan)

        table(
            "A 96³ volume through pix2pix (width 32, depth 5), slices of 96 × 96",
            {
                "fp32": whole(method, "fp32"),
                "fp32, channels last (the default)": whole(fast, "fp32"),
                "bf16 autocast, channels last": whole(fast, "bf16"),
            },
        )
        one = np.asarray(case.values("T1w"))
        start = time.perf_counter()
        score(one, one + 1, np.asarray(case.mask()), case="x", method="x", data_range=1000.0, unit="a.u.")
        print(f"\nAll five metrics of a 96³ volume: {time.perf_counter() - start:.2f} s.")


def prepared(cohort: Path, out: Path, workers: int) -> None:
    shutil.rmtree(out, ignore_errors=True)
    prepare(cohort, out, PrepareSettings(), workers=workers)


def data() -> None:
    """Preparing 64 cases by one and by two processes, memory by number of cases, and slices drawn for training."""
    with tempfile.TemporaryDirectory() as folder:
        few = write_cohort(
            Path(folder) / "few",
            PhantomSettings(subjects=4, size=(128,) * 3, spacing=1.7, contrasts=("T1w", "T2w")),
        )
        cohort = Path(folder) / "cohort"
        for number in range(64):
            # Sixteen copies of four heads: what is in them does not change what they cost.
            shutil.copytree(few / f"sub-{number % 4 + 1:03d}", cohort / f"head-{number:03d}")
        taken: dict[int, list[float]] = {1: [], 2: []}
        # One process would borrow the other core for some of ITK's filters.
        SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
        for _ in range(2):
            for workers in taken:
                start = time.perf_counter()
                prepared(cohort, Path(folder) / "prepared", workers)
                taken[workers].append(time.perf_counter() - start)
        ratio = statistics.median(a / b for a, b in zip(taken[1], taken[2], strict=True))
        one, two = (statistics.median(taken[workers]) for workers in taken)
        print(
            f"\n64 heads of 2 contrasts of 128³, prepared: {one:.1f} s on one core, {two:.1f} s by two processes: "
            f"{ratio:.2f} times as fast."
        )
        for number in (4, 64):
            own = Path(folder) / f"of_{number}"
            for case in sorted(cohort.iterdir())[:number]:
                shutil.copytree(case, own / case.name)
            code = (
                "import resource, sys; from pathlib import Path; from transmodal.data.prepare import prepare; "
                "prepare(Path(sys.argv[1]), Path(sys.argv[2])); "
                "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
            )
            words = [sys.executable, "-c", code, str(own), str(Path(folder) / f"memory_{number}")]
            peak = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
            print(f"Peak memory of one process that prepares {number} of them: {peak} MB.")
        dataset = PreparedDataset.open(Path(folder) / "prepared")
        loader = Loader(dataset, dataset.names, Task(), Sampling(size=(128, 128)), batch_size=8)
        files = sorted(cohort.glob("*/*.nii.gz"))
        steps = count()

        def decoded() -> None:
            """Eight slices of both contrasts, each from its compressed file."""
            step = next(steps)
            for number in range(8):
                for path in files[2 * ((8 * step + number) % 64) :][:2]:
                    np.asarray(nib.load(path).dataobj[..., 64], dtype=np.float32)

        table("A batch of 8 slices of two contrasts", {
            "decoding .nii.gz": decoded,
            "from prepared cases, normalised and cut": lambda: loader.batch(next(steps)),
        })  # fmt: skip


if __name__ == "__main__":
    facts = environment()
    print(f"{facts['processor']}, {facts['cores']} cores, torch {facts['versions']['torch']}, no GPU used")
    groups = {
        "machine": machine, "slice": one_slice, "colorization": colorization, "rolling": rolling, "data": data,
        "features": features,
    }  # fmt: skip
    for part in sys.argv[1:] or groups:
        groups[part]()
