"""A mask by a program of the user's (SynthStrip, HD-BET …): a command line with ``{image}`` and ``{mask}`` in it.

The command comes from the command line or from Python, never from a recipe or a model: those are passed around,
and must not be able to run anything.
"""

import shlex
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from transmodal.data.volume import Volume, read_volume, write_volume
from transmodal.errors import InputError, RecipeError

_HOURS = 1
_LEVELS = 2


def check(command: str) -> list[str]:
    """The words of the command.

    Raises:
        RecipeError: it lacks a place for the image or for the mask, or cannot be taken apart.
    """
    try:
        words = shlex.split(command)
    except ValueError as problem:
        raise RecipeError(f"--mask-tool {command!r}: {problem}") from problem
    for place in ("{image}", "{mask}"):
        if not any(place in word for word in words):
            raise RecipeError(
                f"--mask-tool {command!r}: has no {place}; write, say, 'tool -i {{image}} -o {{mask}}'"
            )
    return words


def mask_by(command: str, image: Volume) -> Volume:
    """The mask that the program writes for an image.

    Args:
        command: words, among them ``{image}`` (a ``.nii.gz`` to read) and ``{mask}`` (a ``.nii.gz`` to write).
            No shell sees it.
        image: any volume; the program gets a copy.

    Raises:
        InputError: the program is not there, fails, takes more than an hour, or writes no usable mask.
    """
    with tempfile.TemporaryDirectory(prefix="transmodal-") as folder:
        given, made = Path(folder) / "image.nii.gz", Path(folder) / "mask.nii.gz"
        write_volume(image, given)
        words = [w.replace("{image}", str(given)).replace("{mask}", str(made)) for w in check(command)]
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=_HOURS * 3600, check=False)
        except (OSError, subprocess.TimeoutExpired) as problem:
            raise InputError(f"{image.name}: the mask tool {words[0]!r} did not run ({problem})") from problem
        if done.returncode or not made.is_file():
            lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
            raise InputError(
                f"{image.name}: the mask tool {words[0]!r} ended with {done.returncode} and "
                f"{'a' if made.is_file() else 'no'} mask ({(lines or ['no output'])[-1].strip()[:160]}); "
                "try it by hand on this image"
            )
        mask = read_volume(made, label=True)
        if len(levels := np.unique(mask.data)) > _LEVELS:
            raise InputError(
                f"{image.name}: the mask tool {words[0]!r} wrote {len(levels)} different values where a mask has "
                "two; this is an image: ask it for the mask"
            )
        return Volume(mask.data, mask.grid, f"mask of {image.name} by {words[0]}")
