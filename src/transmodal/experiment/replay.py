"""replay(): the turn at which a training diverged, once more, with every number said."""

from dataclasses import replace
from pathlib import Path

from transmodal import registry
from transmodal.data.files import read_json
from transmodal.data.record import as_written
from transmodal.experiment.run import open_run
from transmodal.nn.pretrained import frozen_networks
from transmodal.training.divergence import FOLDER, again
from transmodal.training.loop import make_fabric


def replay(folder: Path | str) -> str:
    """Do again the turn at which a training diverged (see :mod:`transmodal.training.divergence`).

    Args:
        folder: of the run.

    Returns:
        Every term and the norm of the gradient, in a line each.

    Raises:
        InputError: the run left no dump.
    """
    run = open_run(Path(folder))
    recipe = run.recipe
    method = registry.build(recipe.method, recipe.task, recipe.arguments)
    for network in frozen_networks(method):
        network.load_weights()
    dumped = run.folder / FOLDER
    with as_written(dumped / "turn.json", "train again, until the numbers diverge again"):
        precision = read_json(dumped / "turn.json")["precision"]
        values = again(dumped, method, make_fabric(replace(recipe.training, precision=precision), "cpu"))
    return "\n".join(f"{name}: {value:.6g}" for name, value in values.items())
