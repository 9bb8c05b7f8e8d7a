"""Interrupts: Ctrl-C waits for a good moment: the end of a step or a case, a place where no lock is held."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
def interrupts(said: str) -> Iterator[Callable[[], bool]]:
    """Inside this context the first Ctrl-C (or SIGTERM) only asks; the second one interrupts at once.

    Args:
        said: to who asks.

    Yields:
        A function that tells whether somebody asked. Outside the main thread nobody can.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    asked = threading.Event()
    # What the shell told this process to ignore (a job in the background, nohup) stays ignored.
    before = {n: old for n in _SIGNALS if (old := signal.getsignal(n)) is not signal.SIG_IGN}

    def ask(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        progress.say(f"{said} (Ctrl-C again: at once)")

    for number in before:
        signal.signal(number, ask)
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
