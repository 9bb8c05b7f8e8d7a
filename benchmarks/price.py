"""What one training step of a recipe takes, at its own size of slices: weights, work, memory, processor time.

    python benchmarks/price.py recipes/mrnet_{tiny,fast,default,paper}.toml [--batch 1]

Each recipe is played in its own process, with random weights where it wants pretrained ones (the price does not
depend on them), for two steps. Peak memory is what the system counts for that process, libraries included; what is
kept for gradients is counted tensor by tensor, so that other batches can be told from one. Seconds are the
processor's own, of the second step, so that they depend less on what else the machine does; on one core.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

HEAD = """\
| recipe | batch | trained weights | frozen | GMAC a slice | peak memory | kept for a slice | processor s |
|---|---:|---:|---:|---:|---:|---:|---:|"""


def play(path: Path, batch: int) -> dict[str, Any]:
    """The price of one recipe, in this process."""
    import torch

    from transmodal import registry
    from transmodal.nn.pretrained import frozen_networks
    from transmodal.recipe import load_recipe
    from transmodal.training.cost import measure

    torch.set_num_threads(1)
    recipe = load_recipe(path)
    known = registry.arguments(registry.get(recipe.method))
    free = {"allow_random": True, "encoder_weights": ""}
    arguments = {**recipe.arguments, **{key: value for key, value in free.items() if key in known}}
    outline = registry.outline(recipe.method, recipe.task, arguments)
    gmac = registry.gmac(recipe.method, outline, recipe.task, recipe.task.size)
    method: Any = registry.build(recipe.method, recipe.task, arguments)
    every = sum(p.numel() for p in method.parameters())
    trained = sum(p.numel() for p in method.parameters() if p.requires_grad)
    cost = measure(
        method, recipe.task, replace(recipe.training, batch_size=batch, accumulate=1), "cpu", timed=1,
        clock=time.process_time,
    )  # fmt: skip
    return {
        "recipe": path.name,
        "batch": batch,
        "trained": trained,
        "frozen": every - trained,
        "pretrained": len(frozen_networks(method)),
        "gmac": gmac,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "kept": cost.per_sample,
        "seconds": cost.seconds,
    }


def line(facts: dict[str, Any]) -> str:
    """A row of the table."""
    return (
        f"| `{facts['recipe']}` | {facts['batch']} | {facts['trained']:,} | {facts['frozen']:,} "
        f"| {facts['gmac']:.3g} "
        f"| {facts['peak'] / 1e9:.2f} GB | {facts['kept'] / 1e9:.3g} GB | {facts['seconds']:.3g} |"
    )


def main(paths: list[Path], batch: int) -> None:
    print(HEAD, flush=True)
    for path in paths:
        words = [sys.executable, __file__, str(path), "--batch", str(batch), "--json"]
        done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        print(line(json.loads(done.stdout)) if not done.returncode else f"| `{path.name}` | failed |", flush=True)
        sys.stderr.write(done.stderr if done.returncode else "")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="+", type=Path)
    parser.add_argument("--batch", type=int, default=1, help="slices in a step")
    parser.add_argument("--json", action="store_true", help="one recipe, in this process, as JSON")
    given = parser.parse_args()
    if given.json:
        print(json.dumps(play(given.recipes[0], given.batch)))
    else:
        main(given.recipes, given.batch)
