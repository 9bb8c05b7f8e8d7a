"""Voice: how every command speaks."""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from transmodal import progress

Words = Positional[tuple[str, ...]]


@dataclass(frozen=True)
class Voice:
    """How a command speaks."""

    quiet: Annotated[bool, arg(aliases=["-q"], name="quiet")] = False
    """Say nothing but errors."""
    log_json: bool = False
    """Progress and messages as JSON lines on stderr."""

    def use(self) -> None:
        """Apply to this process."""
        progress.use("json" if self.log_json else "silent" if self.quiet else "human")


Speak = Annotated[OmitArgPrefixes[Voice], arg(name="")]
