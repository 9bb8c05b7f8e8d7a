"""What a running command tells its user: bars and sentences on stderr, or JSON lines, or nothing.

Library code calls :func:`track`, :func:`say`, :func:`warn` and :func:`event`; only the command line chooses
a voice with :func:`use`. Imported as a library, Transmodal is silent. Nothing here writes to stdout.
"""

import json
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import Any, Literal, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Item = TypeVar("Item")
Voice = Literal["silent", "human", "json"]

_voice: Voice = "silent"
_console = Console(stderr=True, highlight=False)
_live: Progress | None = None


def use(voice: Voice) -> None:
    """Choose how this process speaks: ``silent`` (the default), ``human`` or ``json``."""
    global _voice
    _voice = voice


def voice() -> Voice:
    """How this process speaks now."""
    return _voice


def say(message: str) -> None:
    """One line for the user."""
    _speak("info", message)


def warn(message: str) -> None:
    """One line that the user should not miss."""
    _speak("warning", message)


def event(name: str, **facts: Any) -> None:
    """A machine-readable fact; seen only with ``--log-json``."""
    if _voice == "json":
        print(json.dumps({"time": round(time.time(), 3), "event": name, **facts}), file=sys.stderr, flush=True)


def track(items: Iterable[Item], title: str, total: int | None = None, done: int = 0) -> Iterator[Item]:
    """Pass ``items`` through and show a bar with the time left.

    Args:
        items: what is worked on.
        title: a word or two for the bar.
        total: how many there are; taken from ``len(items)`` where it has one.
        done: how many were finished before, by a run that is now resumed.
    """
    global _live
    if total is None and isinstance(items, Sized):
        total = len(items)
    if _voice == "json":
        event("start", title=title, total=total, done=done)
        last = 0.0
        for count, item in enumerate(items, start=done + 1):
            yield item
            if time.monotonic() - last >= 1.0 or count == total:
                last = time.monotonic()
                event("progress", title=title, done=count, total=total)
        return
    if _voice == "silent" or _live is not None or not _console.is_terminal:
        yield from items
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=_console, transient=True) as bar:
        _live = bar
        task = bar.add_task(title, total=total, completed=done, note="")
        try:
            for item in items:
                yield item
                bar.advance(task)
        finally:
            _live = None


def note(text: str) -> None:
    """A few words at the end of the bar that is on screen now (the current loss, the current case)."""
    if _live is not None:
        _live.update(_live.task_ids[-1], note=text)


def _speak(level: str, message: str) -> None:
    if _voice == "json":
        event(level, message=message)
    elif _voice == "human":
        style = "yellow" if level == "warning" else None
        prefix = "warning: " if level == "warning" else ""
        _console.print(prefix + message, style=style, markup=False, soft_wrap=True)
