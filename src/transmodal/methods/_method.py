"""Method: one published way to synthesise an image. A protocol, not a base class.

A method is an ``nn.Module`` whose constructor takes a :class:`~transmodal.data.task.Task` and, by keyword,
the hyper-parameters of its paper: that signature is the schema of the recipe's ``[method]`` table. It says
what it needs in ``facts`` and plays its game in three functions::

    def players(self):                       # who is trained, and by which optimiser
        return {"generator": {"generator": self.generator}, "critic": {"critic": self.critic}}

    def objectives(self, batch):             # one step of the paper's algorithm
        fake = self.generator(batch.source)
        yield "generator", {"l1": 100 * l1(fake, batch.truth), "adversarial": ...}
        yield "critic", {"adversarial": ... fake.detach() ...}

    def translate(self, batch):              # what inference calls
        return self.generator(batch.source)

Between two yields the loop has updated the player that was named. What is not a player is never trained.

Rules. Networks are attributes, and their name among the players is their attribute name. Never ``yield``
inside a ``with`` block: the context would leak into the loop. Activation checkpointing must be
non-reentrant. Terms are scalars, weighted, in float32. Randomness comes from torch's global generator, which
the loop seeds anew at each step. State that is not a parameter (a pool of past fakes, a running mean) is a
buffer, so that a resumed run equals one that never stopped.
"""

from collections.abc import Generator, Mapping
from typing import ClassVar, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

from transmodal.data.batch import Batch
from transmodal.methods._facts import Facts

Players = Mapping[str, Mapping[str, nn.Module]]
"""Player → name of the network → the network. One optimiser updates all networks of a player."""

Objectives = Generator[tuple[str, dict[str, Tensor]], None, None]
"""Yields a player's name and its weighted loss terms by name."""


@runtime_checkable
class Method(Protocol):
    """What the loop and inference rely on. See the top of this file for the rules.

    Attributes:
        facts: what it is and needs.
        training_only: names of submodules that translating does not need; a Model leaves them out.
        multiple: every spatial size that ``translate`` gets is a multiple of this.
    """

    facts: ClassVar[Facts]
    training_only: ClassVar[tuple[str, ...]]
    multiple: int

    def players(self) -> Players:
        """Who is trained; empty for a method that learns without gradients or not at all."""
        ...

    def objectives(self, batch: Batch) -> Objectives:
        """One step: yield each player's terms in the order in which they move."""
        ...

    def translate(self, batch: Batch) -> Float[Tensor, "B Cout *N"]:
        """The target for these sources, normalised as ``Batch.target`` is."""
        ...


def needs_labels(method: Method) -> bool:
    """Whether training needs label maps: as its facts say, unless its arguments leave out what they are for.

    A method of which that is true has an attribute ``needs_labels``.
    """
    return bool(getattr(method, "needs_labels", method.facts.needs_labels))


@runtime_checkable
class Watched(Protocol):
    """A method that can be read like an instrument while it trains. What it shows is logged and is in no loss."""

    def readings(self) -> dict[str, Tensor]:
        """Scalars of the last step, by name."""
        ...

    def alarms(self, readings: Mapping[str, float]) -> list[str]:
        """What is wrong, in sentences.

        Args:
            readings: their means since the last line of the log.
        """
        ...
