"""Commands that hand a model over to other programs."""

from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import Positional

from transmodal.commands.voice import Speak, Voice, Words


@dataclass(frozen=True)
class Export:
    """Write a model as an ONNX graph, which is run without PyTorch, after comparing it with the networks."""

    model: Positional[Path]
    """A model folder (RUN/model)."""
    images: Words = ()
    """Scans of one case, as for synthesize, to compare on as well; made-up volumes always are."""
    onnx: bool = False
    """As a graph for ONNX Runtime."""
    out: Path | None = None
    """A folder of its own, without the weights; by default the graph is put beside them."""
    force: bool = False
    """Replace --out."""
    voice: Speak = field(default_factory=Voice)

    def run(self) -> None:
        from transmodal.errors import RecipeError
        from transmodal.inference.export import export, spell

        if not self.onnx:
            raise RecipeError("export: say as what: --onnx")
        print(spell(export(self.model, self.out, self.images, force=self.force)))
