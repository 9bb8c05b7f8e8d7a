r"""What each part of a method is worth: train a recipe with and without it, and test the difference per person.

    python benchmarks/ablation.py recipes/macro2micro_fa.toml --data DATA --out OUT \
        --without "exchange: method.alpha=0.0" \
                  "region: method.region=image method.guard=0.0" \
                  "patch critic: method.patch_weight=0.0"

Each part is a name and the words that take it away. All folds are trained; what is finished is not repeated. The
table gives, by metric, the mean over people of (without - whole) with its 95 % interval, the p of Wilcoxon's
signed-rank test, Holm-corrected over the parts, and the effect size (rank-biserial r). It goes to OUT/ablation.md,
and the rows to OUT/ablation.csv.
"""

import argparse
from dataclasses import replace
from itertools import product
from pathlib import Path

from quality import Found, collect, over_seeds

from transmodal import progress
from transmodal.data.prepare import prepare
from transmodal.evaluation.statistics import holm, paired
from transmodal.evaluation.table import Row, write_rows
from transmodal.recipe import load_recipe
from transmodal.reporting.tables import p_value

WHOLE = "whole"


def run(path: Path, data: Path, out: Path, parts: dict[str, list[str]], words: list[str], seeds: int) -> str:
    prepared = out / "prepared"
    prepare(data, prepared, load_recipe(path, words).prepare_settings)
    rows: list[Row] = []
    for name, without in {WHOLE: [], **parts}.items():
        found: Found = {}
        folds = load_recipe(path, [*words, *without]).data.folds
        for seed, fold in product(range(seeds), range(folds)):
            own = [f"data.fold={fold}", f"data.path={prepared}", f"training.seed={seed}"]
            recipe = load_recipe(path, [*words, *without, *own])
            collect(found, recipe, out / f"{name.replace(' ', '-')}_{fold}_seed{seed}", seed)
        label = name if name == WHOLE else f"without {name}"
        rows += [replace(row, method=label) for row in over_seeds(found) if row.method == recipe.method]
    write_rows(out / "ablation.csv", rows)
    text = table(rows, list(parts))
    (out / "ablation.md").write_text(text)
    return text


def table(rows: list[Row], parts: list[str]) -> str:
    lines = [
        "| metric | part | n | whole | without - whole [95 %] | p (Holm) | r |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    hows = {}
    for metric in dict.fromkeys(row.metric for row in rows):
        found: dict[str, dict[str, float]] = {}
        for row in rows:
            if row.metric == metric:
                found.setdefault(row.method, {})[row.case] = row.value
        whole = found[WHOLE]
        differences = [paired(whole, found[f"without {part}"]) for part in parts]
        for part, change, p in zip(parts, differences, holm([d.p for d in differences]), strict=True):
            ends = ""
            if change.interval is not None:
                hows[change.interval.how] = None
                ends = f" [{change.interval.low:+.4g}, {change.interval.high:+.4g}]"
            lines.append(
                f"| {metric} | {part} | {change.n} | {sum(whole.values()) / len(whole):.4g} "
                f"| {change.mean:+.4g}{ends} | {p_value(p)} | {change.effect:+.2f} |"
            )
    return (
        "\n".join([*lines, "", f"Intervals of means: {'; '.join(hows)}." if hows else "One person: no interval."])
        + "\n"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--without", nargs="+", required=True, metavar="NAME: WORDS")
    parser.add_argument("--set", nargs="*", default=[], help="key=value words for every training")
    parser.add_argument("--seeds", type=int, default=1)
    given = parser.parse_args()
    named = {name.strip(): text.split() for name, _, text in (part.partition(":") for part in given.without)}
    progress.use("human")
    print(run(given.recipe, given.data, given.out, named, given.set, given.seeds))
