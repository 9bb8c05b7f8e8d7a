"""Catalogue: which methods there are, what each is made of, and what can be set."""

from collections.abc import Mapping, Sequence
from typing import Any

from transmodal import registry
from transmodal.data.task import Task
from transmodal.errors import RecipeError
from transmodal.schema import coerce, override


def list() -> Sequence[dict[str, Any]]:  # noqa: A001 - the name of the command
    """The methods of the package: ``{name, summary, paper, paired, min_sources, max_targets, …}`` each."""
    return registry.describe()


def show(method: str, words: Sequence[str] = ()) -> dict[str, Any]:
    """Networks with their parameter counts, frozen parts, and arguments of a method.

    Args:
        method: a name that ``transmodal list`` shows, or a dotted module.
        words: ``key=value``: arguments of the method; ``sources``, ``targets``, ``spatial``, ``neighbours``
            of the task; ``size``, which adds ``gmac`` for one input of that edge length.

    Returns:
        ``{players: {player: {network: count}}, frozen: {name: count}, arguments: {name: value}}``.
    """
    table = override({}, words)
    size = coerce(table.pop("size", None), int | None, "size")
    keys = {"sources": tuple[str, ...], "targets": tuple[str, ...], "spatial": int, "neighbours": int}
    asked = {key: coerce(table.pop(key), kind, key) for key, kind in keys.items() if key in table}
    if size is not None and size < 1:
        raise RecipeError(f"size = {size}: give the edge length of an input, such as 256")
    return registry.show(method, Task(**asked), table, size)


def spell(facts: Mapping[str, Any]) -> str:
    """The same for people."""
    lines = []
    for player, networks in facts["players"].items():
        lines += [f"{player}: {network}  {count:,} parameters" for network, count in networks.items()]
    lines += [f"frozen: {name}  {count:,} parameters" for name, count in facts["frozen"].items()]
    if not lines:
        lines.append("nothing is trained by gradients")
    if "gmac" in facts:
        lines.append(f"one translation: {facts['gmac']:.3g} GMAC")
    lines += ["", "arguments"]
    lines += [f"  {name} = {value!r}" for name, value in facts["arguments"].items()]
    return "\n".join(lines)
