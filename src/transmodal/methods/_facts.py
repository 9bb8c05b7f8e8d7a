"""Facts: what a method is and needs, said without its networks."""

from dataclasses import dataclass

from transmodal.data.task import Task
from transmodal.errors import RecipeError


@dataclass(frozen=True)
class Facts:
    """What a method is and needs; a recipe that asks for something else is refused before data is read.

    Attributes:
        summary: one line for ``transmodal list``.
        paper: link to the paper, or ``baseline``.
        paired: False where training needs no source and target of the same person.
        min_sources: fewest sources that make sense.
        max_targets: most targets it can make at once; None for any number.
        handles_missing: whether a source may be missing (``Batch.present``).
        needs_labels: whether training needs a label map.
        spatial: the numbers of spatial axes its networks can be built for.
        registered: whether the output is pulled to the target voxel by voxel; False where a pair need only show
            about the same place.
        unit_range: whether its losses need every image between a black and a white; z-scores have neither.
        not_reproduced: what of the paper was not verified, where more than its numbers (:attr:`unproven`).
    """

    summary: str
    paper: str
    paired: bool = True
    min_sources: int = 1
    max_targets: int | None = None
    handles_missing: bool = False
    needs_labels: bool = False
    spatial: tuple[int, ...] = (2, 3)
    registered: bool = True
    unit_range: bool = False
    not_reproduced: str = ""

    @property
    def unproven(self) -> str:
        """What of the paper was not verified, for every model card; empty for what has no paper."""
        if self.not_reproduced or not self.paper.startswith("http"):
            return self.not_reproduced
        return "the numbers of its paper, whose data the authors of Transmodal did not have"

    def check(self, name: str, task: Task) -> None:
        """Refuse a task that the method cannot do.

        Raises:
            RecipeError: with what does not fit and what would.
        """
        if len(task.sources) < self.min_sources:
            raise RecipeError(f"{name} needs at least {self.min_sources} sources, the recipe names {task.sources}")
        if self.max_targets is not None and len(task.targets) > self.max_targets:
            raise RecipeError(
                f"{name} makes at most {self.max_targets} target(s), the recipe names {task.targets}"
            )
        if task.spatial not in self.spatial:
            known = " or ".join(str(s) for s in self.spatial)
            raise RecipeError(f"{name} works with spatial = {known}, the recipe asks for {task.spatial}")
