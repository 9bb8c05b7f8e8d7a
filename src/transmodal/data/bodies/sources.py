"""Sources: the published bodies that can be imported, by name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from transmodal.data.bodies.dataset import check_out, write_body
from transmodal.data.bodies.visible_human import VisibleHumanSettings, visible_human
from transmodal.data.bodies.visible_korean import VisibleKoreanSettings, visible_korean
from transmodal.schema import make

Source = Literal["visible-human", "visible-korean"]


def import_body(
    source: Source, tree: Path, settings: Mapping[str, Any], out: Path, *, force: bool = False
) -> list[str]:
    """Read a published body and write it as a dataset of one case.

    Args:
        source: whose files they are.
        tree: their folder.
        settings: of :class:`~.visible_human.VisibleHumanSettings` or the like.
        out: folder to write.
        force: replace a body that was imported there before.

    Returns:
        Lines that say what was written.

    Raises:
        InputError: files that are not laid out so.
        RecipeError: settings that are unknown, wrong or missing.
        Refused: ``out`` holds something else.
    """
    check_out(out, force)
    body = (
        visible_human(tree, make(VisibleHumanSettings, settings, "import"))
        if source == "visible-human"
        else visible_korean(tree, make(VisibleKoreanSettings, settings, "import"))
    )
    return [*write_body(out, body), body.credit]
