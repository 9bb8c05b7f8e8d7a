"""Cluster: the same function for many cases, by the workers of a Dask cluster.

Workers are processes that others start, on machines that see the same files under the same names and have the same
Transmodal. A job whose worker is lost is given to another one. Work that was done and could not be reported any
more is then asked for again: functions that are run here look whether their work is there before they begin.
"""

import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import sleep
from typing import Any
from uuid import uuid4

from transmodal.errors import InputError, RecipeError, TransmodalError
from transmodal.interrupts import heed, interrupts, without_interrupts

LOCAL = "local"
"""Instead of an address: a cluster of this machine's own, which ends with the command."""

_GLANCE = 0.05
"""Seconds between two looks whether a result is there."""

_one_at_a_time = threading.Lock()


@dataclass(frozen=True)
class Work:
    """A function as a worker runs it.

    Attributes:
        function: one that a module holds.
        place: the folder that relative paths are meant from.
    """

    function: Callable[[Any], Any]
    place: str

    def __call__(self, job: Any) -> Any:
        """What the function answers. A worker with several threads still does one job at a time."""
        import SimpleITK

        with _one_at_a_time:
            os.chdir(self.place)
            # Dask starts a worker for every core, as a rule; threads of each would only fight.
            SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
            return self.function(job)


@contextmanager
def dask_mapper(scheduler: str, workers: int) -> Iterator[Callable[..., Iterable[Any]]]:
    """A ``map`` that runs on a Dask cluster; results come in the order of the jobs.

    Args:
        scheduler: its address, as ``tcp://HOST:8786``, or :data:`LOCAL`.
        workers: how many a local cluster has.

    Raises:
        RecipeError: Dask is not installed.
        InputError: nobody answers at the address.
        TransmodalError: the cluster went away, or a job took several workers with it.
    """
    try:
        from distributed import Client, LocalCluster
        from distributed.comm.addressing import parse_address, parse_host_port
    except ModuleNotFoundError as problem:
        raise RecipeError(f"--scheduler needs {problem.name}: pip install 'transmodal[dask]'") from problem
    quiet = logging.CRITICAL
    logging.getLogger("distributed").setLevel(quiet)
    place: Any = scheduler
    if scheduler == LOCAL:
        with without_interrupts():
            place = LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                dashboard_address="127.0.0.1:0",
                silence_logs=quiet,
                host="127.0.0.1",
            )
    try:
        if scheduler != LOCAL:
            # A client of a word that is no address would be half built, and hang when it is forgotten.
            parse_host_port(parse_address(scheduler)[1])
        client = Client(place, timeout=20, set_as_default=False)
    except (OSError, ValueError) as problem:
        raise InputError(
            f"--scheduler {scheduler}: no Dask scheduler answers there ({problem}); check the address "
            "(tcp://HOST:8786), or give local"
        ) from problem
    try:
        with interrupts("stopping; what is finished is kept") as asked:
            yield _Mapper(client, asked)
            heed(asked)
    finally:
        client.close()
        if place is not scheduler:
            place.close()


@dataclass(frozen=True)
class _Mapper:
    """``map`` on a cluster. An interrupt strikes between two looks at it, so that no lock stays taken for ever."""

    client: Any
    asked: Callable[[], bool]

    def __call__(self, function: Callable[[Any], Any], jobs: Iterable[Any]) -> Iterator[Any]:
        from distributed import KilledWorker
        from distributed.client import FutureCancelledError

        jobs, name = list(jobs), f"transmodal-{uuid4().hex}"
        futures = self.client.map(
            Work(function, os.getcwd()), jobs, key=[f"{name}-{n}" for n in range(len(jobs))], pure=False
        )
        try:
            while futures:
                while not futures[0].done():
                    # Not result(timeout=…): a result that comes at that very moment makes it fail.
                    sleep(_GLANCE)
                    heed(self.asked)
                answer = futures[0].result()
                # A result that is here is forgotten there, or the loss of its worker would make it again.
                futures.pop(0).release()
                yield answer
                heed(self.asked)
        except KilledWorker as problem:
            raise TransmodalError(
                f"one case took {problem.allowed_failures + 1} workers with it, most likely for want of memory; "
                "what was finished is kept: give workers more memory (dask worker --memory-limit), run it again"
            ) from problem
        except FutureCancelledError as problem:
            raise TransmodalError(
                f"the Dask cluster went away ({problem.reason}); what was finished is kept: run it again"
            ) from problem
        finally:
            if futures and self.client.status == "running":
                self.client.cancel(futures)
