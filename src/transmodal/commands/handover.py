"""Commands that hand a model over to other programs."""

from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import Positional

from transmodal.commands.voice import Speak, Voice, Words


@dataclass(frozen=True)
class Export:
    """Write a model as an ONNX graph, which is run without PyTorch, or as a MONAI Bundle."""

    model: Positional[Path]
    """A model folder (RUN/model)."""
    images: Words = ()
    """Scans of one case, as for synthesize, to compare on as well; made-up volumes always are."""
    onnx: bool = False
    """As a graph for ONNX Runtime, after comparing its answers with those of the networks."""
    bundle: bool = False
    """As a MONAI Bundle, a folder of its own; needs --out."""
    out: Path | None = None
    """The folder to write; by default a graph is put beside the weights, with --out it goes without them."""
    force: bool = False
    """Replace --out."""
    voice: Speak = field(default_factory=Voice)

    def run(self) -> None:
        from transmodal.errors import RecipeError

        if self.onnx == self.bundle:
            raise RecipeError("export: say as what: --onnx or --bundle")
        if self.bundle:
            from transmodal.inference.bundle import write_bundle

            if self.out is None or self.images:
                raise RecipeError("export --bundle: takes --out FOLDER and no scans")
            write_bundle(self.model, self.out, force=self.force)
            print(self.out)
            return
        from transmodal.inference.export import export, spell

        print(spell(export(self.model, self.out, self.images, force=self.force)))
