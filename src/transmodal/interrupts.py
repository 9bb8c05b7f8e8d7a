"""Interrupts: Ctrl-C waits for a good moment: the end of a step or a case, a place where no lock is held."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import FrameType

from transmodal import progress

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def heed(asked: Callable[[], bool]) -> None:
    """Where an interrupt may strike; ``asked`` is what :func:`interrupts` yields.

    Raises:
        KeyboardInterrupt: somebody asked.
    """
    if asked():
        raise KeyboardInterrupt


@contextmanager
def interrupts(said: str, at_once: Callable[[], None] | None = None) -> Iterator[Callable[[], bool]]:
    """Inside this context the first Ctrl-C (or SIGTERM) only asks; the second one interrupts at once.

    Args:
        said: to who asks.
        at_once: what the second one does; a third one raises KeyboardInterrupt. Without it the second one does.

    Yields:
        A function that tells whether somebody asked. Outside the main thread nobody can.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    asked, asked_twice = threading.Event(), threading.Event()
    # What the shell told this process to ignore (a job in the background, nohup) stays ignored.
    before = {n: old for n in _SIGNALS if (old := signal.getsignal(n)) is not signal.SIG_IGN}

    def ask(number: int, frame: FrameType | None) -> None:
        if not asked.is_set():
            asked.set()
            progress.say(f"{said} (Ctrl-C again: at once)")
        elif at_once is None or asked_twice.is_set():
            raise KeyboardInterrupt
        else:
            asked_twice.set()
            at_once()

    for number in before:
        signal.signal(number, ask)
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def without_interrupts() -> Iterator[None]:
    """Processes and threads that are started here never hear Ctrl-C, which a terminal sends to all of them.

    What becomes of their work is for the command to say. An interrupt that comes meanwhile waits for the end.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # Started by the first process that is spawned, it would let signals in again (until Python 3.12).
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
