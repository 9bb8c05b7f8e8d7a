"""Methods text to paste into a paper. Every clause rests on a fact in the folder; without the fact, no clause."""

from collections.abc import Mapping
from typing import Any

from transmodal.reporting.folder import Contents, main_method, table
from transmodal.reporting.tables import FLOORS, conventions, intervals, lay_out


def methods_text(contents: Contents) -> str:
    """What was done, in a few sentences; empty where the folder does not say it."""
    parts = [_task(contents), _data(contents), _training(contents), _evaluation(contents), _environment(contents)]
    return " ".join(part for part in parts if part) if contents.run else ""


def _task(contents: Contents) -> str:
    data = table(contents.run, "recipe", "data")
    method = table(contents.run, "recipe", "method").get("name")
    if not (data.get("sources") and data.get("targets") and method):
        return ""
    version = table(contents.run, "environment", "versions").get("transmodal")
    tool = f"Transmodal {version}" if version else "Transmodal"
    return (
        f"{_list(data['targets'])} images were synthesised from {_list(data['sources'])} with {method} in {tool}."
    )


def _data(contents: Contents) -> str:
    split = table(contents.run, "split")
    numbers = {part: len(split[part]) for part in ("train", "val", "test") if split.get(part) is not None}
    words = {"train": "for training", "val": "for validation", "test": "for testing"}
    if not numbers:
        return ""
    data = table(contents.run, "recipe", "data")
    fold = f" (fold {data['fold'] + 1} of {data['folds']})" if "fold" in data and "folds" in data else ""
    listed = _list([f"{number} {words[part]}" for part, number in numbers.items()])
    return f"The {sum(numbers.values())} cases were split into {listed}{fold}."


def _training(contents: Contents) -> str:
    settings = table(contents.run, "recipe", "training")
    steps = max((line["step"] for line in contents.log if line.get("terms")), default=None)
    if steps is None or not settings:
        return ""
    said = [f"Training took {steps} updates"]
    view = table(contents.run, "recipe", "sampling").get("view")
    if settings.get("batch_size"):
        size = settings["batch_size"] * settings.get("accumulate", 1)
        kind = (
            "patches"
            if view == "patch"
            else "slices in all three planes"
            if view == "planes"
            else f"{view} slices"
        )
        said.append(f"with batches of {size} {kind if view else 'samples'} (per process)")
    said.append(_optimizer(table(settings, "optimizer")))
    if "seed" in settings:
        said.append(f"and seed {settings['seed']}")
    if settings.get("monitor") and any(line.get("validation") for line in contents.log):
        said.append(f"; the weights kept are those with the best validation {settings['monitor']}")
    return " ".join(words for words in said if words).replace(" ;", ";") + "."


def _optimizer(optimizer: Mapping[str, Any]) -> str:
    if not ("name" in optimizer and "lr" in optimizer):
        return ""
    schedule = f" ({optimizer['schedule']} schedule)" if optimizer.get("schedule") else ""
    name = {"adam": "Adam", "adamw": "AdamW"}.get(optimizer["name"], optimizer["name"])
    return f"by {name} at a learning rate of {optimizer['lr']:g}{schedule}"


def _evaluation(contents: Contents) -> str:
    method = main_method(contents)
    if method is None:
        return ""
    own = lay_out([s for s in contents.summaries if s.method == method])
    cases = len({row.case for row in contents.rows if row.method == method})
    floors = [m for m in contents.methods if m in FLOORS and m != method]
    against = f" and compared with the floors {_list(floors)}" if floors else ""
    names = _list(list(dict.fromkeys(metric.name for metric in own.metrics)))
    how = f" ({conventions(own).rstrip('.')})" if conventions(own) else ""
    return (
        f"{method} was evaluated on {cases} case{'s' * (cases != 1)} by {names}{against}{how}. "
        f"Values are means over cases ± standard deviation [{intervals(own)}]."
    )


def _environment(contents: Contents) -> str:
    versions = table(contents.run, "environment", "versions")
    known = [
        f"{name} {versions[key]}" for key, name in (("python", "Python"), ("torch", "PyTorch")) if key in versions
    ]
    with_what = f"Computations used {_list(known)}." if known else ""
    digest = f"The resolved recipe has the hash {contents.run['hash']}." if contents.run.get("hash") else ""
    return f"{with_what} {digest}".strip()


def _list(words: Any) -> str:
    words = [str(word) for word in words]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
