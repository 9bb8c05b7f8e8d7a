"""A figure without pyplot, its size in pixels, and its PNG file. What all pictures of a report share."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

DPI = 100
INK, FAINT = "#1c2126", "#9aa3ab"
_ERROR_COLOURS = ("#b3e5ff", "#3aa0e0", "#0d3f73", "#000000", "#8a1c14", "#ef6a4c", "#ffdccf")


@contextmanager
def new_figure(size: tuple[int, int], background: str) -> Iterator["Figure"]:
    """An empty figure; draw on it and store it inside the block, where its style holds.

    Args:
        size: width and height in pixels of the page.
        background: ``black`` for slices, drawn pixel for pixel, or ``white`` for charts, drawn twice as fine.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    # Names come from files: a dollar sign in one is a dollar sign, not mathematics.
    with rc_context({"text.parse_math": False, "font.family": "DejaVu Sans", "font.size": 9}):
        scale = 1 if background == "black" else 2
        figure = Figure((size[0] / DPI, size[1] / DPI), dpi=DPI * scale, facecolor=background)
        yield figure


def to_png(figure: "Figure", *, few_colours: bool = False) -> bytes:
    """The figure as a file; ``few_colours`` makes a picture in grey and error colours a third of the size.

    Equal figures give equal bytes.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]
    picture = _with_palette(pixels) if few_colours else Image.fromarray(pixels)
    buffer = io.BytesIO()
    picture.save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def grey_png(values: np.ndarray) -> bytes:
    """A picture of values from 0 (black) to 1 (white), rows from the top, pixel for pixel."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.round(np.clip(values, 0, 1) * 255).astype(np.uint8)).save(
        buffer, format="png", optimize=True
    )
    return buffer.getvalue()


def error_colours() -> "Colormap":
    """Blue, black at zero, red: an error map on black shows its errors and nothing else."""
    from matplotlib.colors import LinearSegmentedColormap

    # An odd number of levels, so that zero has one of its own.
    return LinearSegmentedColormap.from_list("error", _ERROR_COLOURS, N=257).with_extremes(bad="black")


def _with_palette(pixels: np.ndarray) -> Any:
    """The picture in 160 greys, 95 colours of the error scale and the mark of NaN: a third of the size."""
    from PIL import Image
    from scipy.spatial import cKDTree

    greys = np.repeat(np.linspace(0, 255, 160), 3).reshape(-1, 3)
    palette = np.concatenate([greys, 255 * error_colours()(np.linspace(0, 1, 95))[:, :3], [(255, 0, 255)]]).round()
    red, green, blue = np.moveaxis(pixels.astype(np.int32), -1, 0)
    packed = red << 16 | green << 8 | blue
    found, place = np.unique(packed, return_inverse=True)
    colours = np.stack([found >> 16, found >> 8 & 255, found & 255], axis=1)
    nearest = cKDTree(palette).query(colours)[1]
    picture = Image.fromarray(nearest[place].reshape(packed.shape).astype(np.uint8))
    picture.putpalette(palette.astype(np.uint8).tobytes())
    return picture
