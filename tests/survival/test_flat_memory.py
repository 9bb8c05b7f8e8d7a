"""Memory does not grow with the number of cases: of 12, no more is held at any moment than of 4.

benchmarks/memory.py measures the same in megabytes.
"""

import tracemalloc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from transmodal.data.bring import PrepareSettings
from transmodal.data.prepare import prepare
from transmodal.data.prepared import PreparedCase
from transmodal.data.volume import Volume
from transmodal.experiment.train import train
from transmodal.inference.files import synthesize_paths
from transmodal.recipe import make_recipe

COUNTS = (4, 12)


class Living:
    """How many objects of a kind there are, and were at most."""

    def __init__(self) -> None:
        self.now = self.most = self.ever = 0

    def born(self, one: Any) -> None:
        self.now, self.ever = self.now + 1, self.ever + 1
        self.most = max(self.most, self.now)
        weakref.finalize(one, self.died)

    def died(self) -> None:
        self.now -= 1


@pytest.fixture
def listed(cohort: Path, tmp_path: Path) -> Callable[[int], Path]:
    """A table of so many people, who are the same four again and again."""

    def make(count: int) -> Path:
        rows = ["case\tT1w\tFA"]
        for number in range(count):
            person = cohort / f"sub-{number % 4 + 1:03d}"
            rows.append(f"p{number:02d}\t{person / 'T1w.nii.gz'}\t{person / 'FA.nii.gz'}")
        table = tmp_path / f"{count}.tsv"
        table.write_text("\n".join(rows) + "\n")
        return table

    return make


def test_synthesis_holds_the_volumes_of_one_case(
    run: Path, listed: Callable[[int], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, most, check = [], [], Volume.__post_init__
    only_arrays = [tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)]

    def after_a_case(name: str) -> None:
        found = tracemalloc.take_snapshot().filter_traces(only_arrays)
        kept.append(sum(trace.size for trace in found.traces))

    def born(volume: Volume) -> None:
        check(volume)
        living.born(volume)

    monkeypatch.setattr("transmodal.progress.note", after_a_case)
    monkeypatch.setattr(Volume, "__post_init__", born)
    for count in COUNTS:
        living = Living()
        tracemalloc.start()
        try:
            written = synthesize_paths(run, [str(listed(count))], tmp_path / str(count), device="cpu")
        finally:
            tracemalloc.stop()
        assert len(written) == count
        assert living.ever >= 2 * count
        most.append(living.most)
    assert most[0] == most[1]
    volume = 4 * 24**3
    assert max(kept) - min(kept) < volume / 2, "arrays of a case outlive it"


def test_training_holds_the_volumes_of_one_sample(
    table: dict[str, Any], listed: Callable[[int], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most, mapped = [], PreparedCase._mapped

    def born(case: PreparedCase, *how: Any) -> Any:
        found = mapped(case, *how)
        living.born(found)
        return found

    for count in COUNTS:
        data = tmp_path / f"prepared-{count}"
        prepare(listed(count), data, PrepareSettings())
        recipe = make_recipe(table | {"data": table["data"] | {"path": str(data)}}, "flat")
        living = Living()
        with monkeypatch.context() as patch:
            patch.setattr(PreparedCase, "_mapped", born)
            train(recipe, tmp_path / f"run-{count}", device="cpu")
        assert living.ever > 2 * count
        most.append(living.most)
    assert most[0] == most[1]
