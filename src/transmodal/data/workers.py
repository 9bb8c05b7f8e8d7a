"""Workers: the same function for many cases, in this process or in several."""

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, wait
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import active_children, get_context, parent_process
from typing import Any

from transmodal import progress
from transmodal.errors import TransmodalError
from transmodal.interrupts import heed, interrupts, without_interrupts

_MMAP_THRESHOLD = -3
"""Of glibc's mallopt: blocks of this size or more are mapped one by one."""
_PATIENCE = 0.2
"""Seconds until it is asked again whether somebody wants to stop."""


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def return_freed_memory() -> None:
    """Let glibc give every large block back to the system when it is freed, in this process from now on.

    By itself it keeps blocks of up to 32 MB once one was freed, and with volumes that come and go case by case the
    pieces between them add up to a megabyte a case. It costs page faults, a fifth of an evaluation where they are
    dear (benchmarks/README.md). Elsewhere nothing happens.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").mallopt(_MMAP_THRESHOLD, 2**18)


def _begin(voice: progress.Voice) -> None:
    import SimpleITK

    progress.use(voice)
    # A terminal sends Ctrl-C to the workers, too; what becomes of their cases is for the command to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return_freed_memory()
    # There is a worker for every core already; threads of each would only fight.
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def mapper(workers: int, scheduler: str = "") -> Iterator[Callable[..., Iterable[Any]]]:
    """A ``map`` that runs in ``workers`` processes; results come in the order of the jobs.

    Jobs and results must be picklable, and the function one that a module holds.

    Args:
        workers: processes.
        scheduler: of a Dask cluster that runs the jobs instead (:mod:`.cluster`); nothing for this machine.

    Raises:
        TransmodalError: a process died, as the system kills one when memory is short.
    """
    if scheduler:
        from transmodal.data.cluster import dask_mapper

        with dask_mapper(scheduler, workers) as run:
            yield run
        return
    if workers <= 1:
        yield map
        return
    # Spawned, not forked: forking a process that runs threads (torch, OpenMP) can hang it.
    with (
        interrupts("stopping after the cases in work", _end_children) as asked,
        ProcessPoolExecutor(
            workers, mp_context=get_context("spawn"), initializer=_begin, initargs=(progress.voice(),)
        ) as pool,
    ):
        try:
            yield partial(_in_turn, pool, asked)
            heed(asked)
        except BrokenExecutor as problem:
            heed(asked)
            raise TransmodalError(
                "a worker process died, most likely for want of memory; what was finished is kept: run it again, "
                "with --workers 1"
            ) from problem
        except BaseException:
            # Waited for: a folder is not let go while somebody writes in it. And to leave the pool without
            # waiting takes the order to drop the other cases back before it is read.
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _end_children() -> None:
    for child in active_children():
        child.terminate()


def _in_turn(
    pool: ProcessPoolExecutor, asked: Callable[[], bool], function: Callable[..., Any], *jobs: Iterable[Any]
) -> Iterator[Any]:
    """What pool.map gives, but that an interrupt only strikes here.

    One that is raised wherever the main thread happens to be may leave a lock of a result taken for ever, and then
    the pool's own thread, and with it the command, never ends.
    """
    # Last first, so that a result that was given away is not kept.
    with without_interrupts():
        futures = [pool.submit(function, *job) for job in zip(*jobs, strict=True)][::-1]
    while futures:
        future = futures.pop()
        while not future.done():
            wait([future], timeout=_PATIENCE)
            heed(asked)
        yield future.result()
        heed(asked)
