"""One step of any method: its players take their turns.

This is the whole game between networks, whatever their number: a method's ``objectives`` hands over a player
and its loss terms, the player is updated, and the method goes on with the updated networks.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer

from transmodal.data.batch import Batch
from transmodal.errors import Diverged, RecipeError, TransmodalError
from transmodal.methods._method import Method, Players
from transmodal.training.divergence import Turn, check_gradients, check_terms, gradient_norm
from transmodal.training.optim import clip
from transmodal.training.ranks import average_gradients
from transmodal.training.watch import GRADIENT


def trained_parameters(players: Players) -> dict[str, dict[str, nn.Parameter]]:
    """Player → name → parameter, of everything that is trained.

    Raises:
        RecipeError: a parameter belongs to two players.
    """
    owner: dict[int, str] = {}
    found: dict[str, dict[str, nn.Parameter]] = {}
    for player, networks in players.items():
        found[player] = {}
        for network, module in networks.items():
            for name, parameter in module.named_parameters(prefix=network):
                if owner.setdefault(id(parameter), player) != player:
                    raise RecipeError(f"{name} is trained by two players, {owner[id(parameter)]} and {player}")
                if parameter.requires_grad:
                    found[player][name] = parameter
    return found


def play(
    method: Method,
    batches: Sequence[Batch],
    optimizers: Mapping[str, Optimizer],
    parameters: Mapping[str, Mapping[str, nn.Parameter]],
    limits: Mapping[str, float],
    fabric: Fabric,
) -> dict[str, Tensor]:
    """One step: every player moves in the order in which the method yields it.

    Args:
        method: whose turn order and terms are played.
        batches: the micro-batches whose gradients are averaged; their games advance in lockstep, so that
            each update sees all of them.
        optimizers: one for each player.
        parameters: player → name → parameter, from :func:`trained_parameters`.
        limits: player → largest gradient norm, 0 for none.
        fabric: device, precision and processes.

    Returns:
        ``player/term`` → its value, averaged over the micro-batches, and the norm of each player's gradient before
        it is clipped. A player that moves twice reports its last turn.

    Raises:
        Diverged: a term or a gradient is NaN or infinite.
        TransmodalError: a parameter got no gradient at the player's first turn.
    """
    games = [method.objectives(batch) for batch in batches]
    report: dict[str, Tensor] = {}
    for number in count():
        # Autocast wraps each advance alone: a context must not stay open while the games are suspended.
        with fabric.autocast():
            turns = [turn for game in games if (turn := next(game, None)) is not None]
        if not turns:
            break
        player = _agreed(turns, len(games))
        own = parameters[player]
        optimizer = optimizers[player]
        optimizer.zero_grad(set_to_none=True)
        with _shared(own, fabric):
            for micro, (_, terms) in enumerate(turns):
                if not terms:
                    raise RecipeError(
                        f"{player}: all of its weights are 0, so there is nothing to learn from; set one"
                    )
                for term, value in terms.items():
                    share = value.detach() / len(turns)
                    key = f"{player}/{term}"
                    report[key] = share if terms is turns[0][1] else report[key] + share
                total = torch.stack(list(terms.values())).sum() / len(turns)
                check_terms(Turn(player, number, micro), batches[micro], terms)
                # Only this player's gradients are computed: the others' weights are left alone without any
                # switching of requires_grad.
                fabric.backward(total, inputs=list(own.values()))
            norm = check_gradients(Turn(player, number, 0), batches[0], own)
        if not optimizer.state:
            _check_every_gradient(player, own)
        report[GRADIENT + player] = norm if fabric.world_size == 1 else gradient_norm(own)
        clip(own.values(), limits[player])
        optimizer.step()
    return report


def _agreed(turns: Sequence[tuple[str, dict[str, Tensor]]], games: int) -> str:
    names = {player for player, _ in turns}
    if len(names) != 1 or len(turns) != games:
        raise TransmodalError(
            f"the micro-batches of one step disagree on whose turn it is ({', '.join(sorted(names))}); "
            "the order of play may depend on batch.step, not on the images"
        )
    return names.pop()


def _check_every_gradient(player: str, own: Mapping[str, nn.Parameter]) -> None:
    without = [name for name, parameter in own.items() if parameter.grad is None]
    if without:
        raise TransmodalError(
            f"player {player!r}: {len(without)} of {len(own)} parameters got no gradient at its first turn, "
            f"among them {', '.join(without[:3])}; use them in its terms, or leave them out of players(). "
            "Activation checkpointing must be non-reentrant"
        )


@contextmanager
def _shared(own: Mapping[str, nn.Parameter], fabric: Fabric) -> Iterator[None]:
    """Afterwards every process holds the mean of the gradients that were made inside.

    Where one diverges all of them stop: the first of those that did says why, the others that it did.
    """
    problem = None
    try:
        yield
    except Diverged as error:
        problem = error
        if fabric.world_size == 1:
            raise
    if fabric.world_size == 1:
        return
    first = average_gradients(list(own.values()), fabric, failed=problem is not None)
    if first == fabric.global_rank and problem is not None:
        raise problem
    if first is not None:
        raise TransmodalError(f"the training diverged in process {first}, whose message says where")
