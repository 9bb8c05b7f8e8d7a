"""What a training leaves behind while it runs: ``log.jsonl``, and TensorBoard events where that is installed.

Every line of the log carries its step, so that a resumed run can cut the lines that it is about to write
again: the log of a run that was killed and resumed equals that of one that was not, but for the seconds.
"""

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

from transmodal.data.files import write_text
from transmodal.data.limits import check_plain
from transmodal.errors import InputError


class Monitor:
    """The log of one run.

    Args:
        folder: the run's folder; ``log.jsonl`` and ``tensorboard/`` are made in it.
        step: keep the lines up to this step, drop later ones (those a killed run wrote after its checkpoint).
    """

    def __init__(self, folder: Path, step: int = 0):
        self.path = folder / "log.jsonl"
        kept = [line for line in read_log(self.path) if line["step"] <= step] if step else []
        write_text(self.path, "".join(json.dumps(line) + "\n" for line in kept))
        self._file = open(self.path, "a", buffering=1)  # noqa: SIM115 - closed in __exit__
        self._board = _tensorboard(folder / "tensorboard", step)

    def __enter__(self) -> "Monitor":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()

    def terms(
        self, step: int, seconds: float, terms: Mapping[str, float], rates: Mapping[str, float], samples: int
    ) -> None:
        """Mean of every loss term since the last line, each player's learning rate, and samples of an update."""
        self._line(step, seconds, {"terms": dict(terms), "lr": dict(rates), "samples": samples})
        self._scalars({**terms, **{f"lr/{player}": rate for player, rate in rates.items()}}, step)

    def validation(self, step: int, seconds: float, scores: Mapping[str, float]) -> None:
        """Mean scores over the validation cases."""
        self._line(step, seconds, {"validation": dict(scores)})
        self._scalars({f"validation/{name}": value for name, value in scores.items()}, step)

    def picture(self, step: int, name: str, image: Any) -> None:
        """A panel as an array (height, width, 3) of bytes, for TensorBoard."""
        if self._board is not None:
            self._board.add_image(name, image, step, dataformats="HWC")

    def _line(self, step: int, seconds: float, facts: Mapping[str, Any]) -> None:
        self._file.write(json.dumps({"step": step, "seconds": round(seconds, 3), **facts}) + "\n")

    def _scalars(self, values: Mapping[str, float], step: int) -> None:
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a log; an unfinished last line, left by a kill, is dropped.

    Raises:
        InputError: a line other than the last is not JSON.
    """
    if not path.exists():
        return []
    check_plain(path)
    lines = path.read_text(encoding="utf-8").splitlines()
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
            if not isinstance(entry, dict):
                raise ValueError("not an object")
            found.append(entry)
        except (ValueError, RecursionError) as problem:
            if number < len(lines):
                raise InputError(f"{path}: line {number} is not JSON; the log was changed by hand") from problem
    return found


def _tensorboard(folder: Path, step: int) -> Any:
    if find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=step or None)
