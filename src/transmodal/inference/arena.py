"""Arena: the memory that ONNX Runtime may take in this process, whatever a graph asks for.

A graph of 250 bytes can ask for terabytes, by operators that honest graphs have as well, and Linux promises them.
All sessions share one arena, which is smaller than what is free when the first one is made: a graph that wants
more is given fewer and smaller tiles (:mod:`.thrift`), and then refused. The process is not killed.
"""

import os
from functools import cache
from pathlib import Path
from typing import Any

SHARE = 0.75
"""Of the memory that is free; the scan, its answer and other programs live from the rest."""
_DEFAULTS = ("arena_extend_strategy", "initial_chunk_size_bytes", "max_dead_bytes_per_chunk")


def free_memory() -> float:
    """Bytes that programs can still take on this machine; a guess where Linux does not say it."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return float(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) * 1024
    except (OSError, StopIteration):
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")) / 2


def bound(options: Any) -> None:
    """Have a session with these ``onnxruntime.SessionOptions`` take its memory from the arena of the process."""
    _arena()
    options.add_session_config_entry("session.use_env_allocators", "1")


@cache
def _arena() -> None:
    import onnxruntime

    sizes = {"max_mem": int(SHARE * free_memory()), **dict.fromkeys(_DEFAULTS, -1)}
    kind = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR
    place = onnxruntime.OrtMemoryInfo("Cpu", kind, 0, onnxruntime.OrtMemType.DEFAULT)
    onnxruntime.create_and_register_allocator(place, onnxruntime.OrtArenaCfg(sizes))
