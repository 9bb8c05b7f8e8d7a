"""From predictions and references, whoever made them, to scores, passports and statistics.

Nothing here needs a recipe, a method or the training code::

    from transmodal.evaluation import evaluate, interval_of_mean, paired

    rows = evaluate(Path("theirs"), Path("measured"), mask=Path("masks"), out=Path("scores"), passport=True)
"""

from transmodal.evaluation.comparison import Comparison, Score
from transmodal.evaluation.conventions import CONVENTIONS, Convention
from transmodal.evaluation.evaluate import evaluate
from transmodal.evaluation.passport import Passport, passport_table, take_passport, write_passport
from transmodal.evaluation.score import score
from transmodal.evaluation.statistics import (
    Difference,
    Equivalence,
    Interval,
    equivalence,
    holm,
    interval_of_mean,
    paired,
    rank_biserial,
    wilcoxon,
)
from transmodal.evaluation.summary import Summary, summarise, write_summary
from transmodal.evaluation.table import Row, read_rows, write_rows

__all__ = [
    "CONVENTIONS",
    "Comparison",
    "Convention",
    "Difference",
    "Equivalence",
    "Interval",
    "Passport",
    "Row",
    "Score",
    "Summary",
    "equivalence",
    "evaluate",
    "holm",
    "interval_of_mean",
    "paired",
    "passport_table",
    "rank_biserial",
    "read_rows",
    "score",
    "summarise",
    "take_passport",
    "wilcoxon",
    "write_passport",
    "write_rows",
    "write_summary",
]
