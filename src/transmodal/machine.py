"""Machine: what a number was made on, and what is missing or unwise there. Sends nothing anywhere."""

import contextlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from transmodal.inference import arena

REQUIRED = ("torch", "lightning-fabric", "numpy", "scipy", "nibabel", "SimpleITK", "safetensors", "matplotlib")
OPTIONAL = {"tensorboard": "track", "nilearn": "phantom", "onnxruntime": "runtime", "onnxscript": "export"}
"""Package → the extra that brings it."""


def versions() -> dict[str, str]:
    """Versions of Python, of Transmodal and of what its numbers depend on."""
    found = {"python": platform.python_version()}
    for package in ("transmodal", *REQUIRED, *OPTIONAL):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def environment() -> dict[str, Any]:
    """Versions, machine and, in a checkout, the commit: what is written beside every result."""
    import torch

    return {
        "versions": versions(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "commit": _commit(),
    }


def spoken(device: Any) -> str:
    """What a torch device is, in words: a GPU's name, or the processor with its cores and the threads used."""
    import torch

    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    used = torch.get_num_threads()
    return f"{_processor()}, {os.cpu_count()} cores, {used} thread{'s' if used > 1 else ''}"


def free_memory(device: Any) -> float:
    """Bytes that are free on a torch device, or in this machine for the processor (or None)."""
    if _is_cuda(device):
        import torch

        return float(torch.cuda.mem_get_info(device)[0])
    return arena.free_memory()


class PeakMemory:
    """The most memory that this process has held since this was made, in bytes.

    Linux forgets an earlier peak on request; elsewhere the peak of the whole process is given.

    Args:
        device: of torch; None for what is computed without it.
    """

    def __init__(self, device: Any) -> None:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
        self.device = device
        if _is_cuda(device):
            import torch

            torch.cuda.reset_peak_memory_stats(device)

    def read(self) -> int:
        """Resident memory of the process, or what torch has taken of a CUDA device."""
        if _is_cuda(self.device):
            import torch

            return int(torch.cuda.max_memory_allocated(self.device))
        try:
            lines = Path("/proc/self/status").read_text().splitlines()
            return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024
        except (OSError, StopIteration):
            import resource

            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            return peak if sys.platform == "darwin" else peak * 1024


def _is_cuda(device: Any) -> bool:
    return device is not None and device.type == "cuda"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine()
    )


def _commit() -> str | None:
    here = Path(__file__).parent
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=here,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def doctor() -> dict[str, Any]:
    """Facts about this machine, and advice in sentences; what is of PyTorch only where that is installed."""
    found = versions()
    pages, page = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    memory = pages * page / 2**30
    free = shutil.disk_usage(tempfile.gettempdir()).free / 2**30
    torch = _torch_facts()
    advice = [f"{p} is not installed: pip install 'transmodal[{OPTIONAL[p]}]'" for p in OPTIONAL if p not in found]
    if not torch:
        advice.append(
            "PyTorch is not installed: exported models can be used, and nothing can be trained; for that: "
            "pip install 'transmodal[train]'"
        )
    elif not torch["cuda_devices"]:
        advice.append("no CUDA device: training runs on the processor; the GPU build is `make setup TORCH=auto`")
    if memory < 4:
        advice.append(f"{memory:.1f} GiB of memory: use small batches and a sampling.size of 128 or less")
    if free < 5:
        advice.append(f"{free:.1f} GiB free for temporary files: prepared cases are not compressed and need room")
    return {
        "platform": platform.platform(),
        "executable": sys.executable,
        "cores": os.cpu_count(),
        "memory_gib": round(memory, 1),
        "free_disk_gib": round(free, 1),
        **torch,
        "versions": found,
        "advice": advice,
    }


def _torch_facts() -> dict[str, Any]:
    """Empty where PyTorch is not installed."""
    try:
        import torch

        from transmodal.training.settings import TrainingSettings
    except ImportError:
        return {}
    return {
        "threads": torch.get_num_threads(),
        "cuda_devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "precision_auto": TrainingSettings().resolved_precision,
    }


def spell(facts: Mapping[str, Any]) -> str:
    """The same for people."""
    lines = [f"{key}: {value}" for key, value in facts.items() if key not in ("versions", "advice")]
    lines += [f"{package} {number}" for package, number in facts["versions"].items()]
    lines += [f"- {line}" for line in facts["advice"]] or ["nothing to complain about"]
    return "\n".join(lines)
