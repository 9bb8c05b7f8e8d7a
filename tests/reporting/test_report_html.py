import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from statistics import fmean, stdev

import pytest

from transmodal.errors import InputError
from transmodal.evaluation.table import read_rows
from transmodal.reporting.html import PURPOSE, report

Make = Callable[[list[str]], Path]


class Page(HTMLParser):
    """Tags, cells by table row, text, and every address of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.rows: list[list[str]] = []
        self.texts: list[str] = []
        self.best: list[str] = []
        self._cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for key, value in attrs if key in ("src", "href", "action", "srcset")]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._cell = True
            if ("class", "best") in attrs:
                self.best.append(self.rows[-1][0])

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._cell = False

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self._cell:
            self.rows[-1][-1] += data

    @property
    def text(self) -> str:
        return " ".join(self.texts)


def page_of(folder: Path, **options: int) -> Page:
    return Page(report(folder, **options).read_text())


def test_the_page_needs_nothing_else(run_of: Make) -> None:
    folder = run_of(["a", "b"])
    page = report(folder)
    assert page == folder / "report.html"
    text = page.read_text()
    found = Page(text)
    assert found.addresses
    assert all(a.startswith(("data:image/png;base64,", "#")) for a in found.addresses)
    assert "http" not in re.sub(r"http-equiv", "", text)
    assert not re.search(r"url\(|@import", text)
    assert "default-src 'none'" in text
    assert PURPOSE in found.text
    assert found.tags.count("script") == 1
    assert [p.name for p in folder.iterdir() if p.name.startswith(".")] == []


def test_the_tables_figures_are_those_computed_by_hand_from_the_csv(run_of: Make) -> None:
    folder = run_of(["a", "b", "c"])
    found = page_of(folder)
    values = [r.value for r in read_rows(folder / "evaluation.csv") if (r.method, r.metric) == ("pix2pix", "MAE")]
    mean, sd = fmean(values), stdev(values)
    half = 4.302652729911275 * sd / 3**0.5  # t(0.975, 2)
    summary = found.rows[:4]
    assert [row[0] for row in summary] == ["Method", "identity floor", "mean floor", "pix2pix"]
    assert summary[0][2:] == ["MAE ↓", "PSNR (dB) ↑"]
    assert summary[3][1] == "3"
    assert summary[3][2] == f"{mean:.3f} ± {sd:.3f}[{mean - half:.3f}, {mean + half:.3f}]"
    # PSNR is a tie of all three; MAE is not.
    assert found.best == ["identity floor", "mean floor", "pix2pix", "pix2pix"]


def test_a_method_that_beats_no_floor_is_told_so(run_of: Make) -> None:
    text = page_of(run_of(["a", "b"])).text
    # Every method of the made run has the same PSNR, and pix2pix the smallest MAE.
    assert "pix2pix does not beat identity (20.50) and mean (20.50) on PSNR: its mean is 20.50." in text
    assert "on MAE:" not in text


def test_what_comes_from_files_is_escaped(run_of: Make) -> None:
    evil = "<script>alert(1)</script>"
    folder = run_of([evil, "b"])
    for name in ("report.json", "evaluation.csv", "run.json"):
        text = (folder / name).read_text()
        text = text.replace("pix2pix", evil).replace("T1w", evil).replace("FLAIR", evil)
        (folder / name).write_text(text)
    (folder / "log.jsonl").write_text(json.dumps({"step": 1, "seconds": 1, "terms": {f"{evil}/x": 1.0}}))
    (folder / "<script>alert(1)<_script>").write_text("")
    text = report(folder).read_text()
    found = Page(text)
    assert "<script>alert" not in text
    assert found.tags.count("script") == 1
    assert "<b>broken</b>" not in text
    assert "<i>none</i>" not in text
    assert found.text.count(evil) > 5


@pytest.mark.parametrize(("cases", "most"), [(1, 4), (2, 5)])
def test_the_number_of_montages_is_bounded(run_of: Make, cases: int, most: int) -> None:
    found = page_of(run_of([f"s{i}" for i in range(9)]), cases=cases, slices=1)
    assert 3 <= found.tags.count("h3") <= most
    assert "s0 — best MAE" in found.text
    assert "s8 — worst MAE" in found.text
    assert "s4 — median MAE" in found.text
    assert f"{9 - found.tags.count('h3')} of 9 cases are not shown." in found.text


def test_a_table_alone_makes_a_page(run_of: Make) -> None:
    folder = run_of(["a"])
    for name in ("log.jsonl", "run.json", "report.json", "evaluation.json"):
        (folder / name).unlink()
    found = page_of(folder)
    for name in ("log.jsonl", "run.json", "report.json"):
        assert f"There is no {name} in the folder" in found.text
    assert found.rows[3][0] == "pix2pix"
    assert found.tags.count("img") == 0


def test_a_log_alone_makes_a_page(run_of: Make) -> None:
    folder = run_of(["a"])
    for name in ("evaluation.csv", "run.json", "report.json", "evaluation.json"):
        (folder / name).unlink()
    found = page_of(folder)
    assert found.tags.count("img") == 1
    assert "Last step: 8, after 1 s of training." in found.text
    assert "There is no evaluation.csv" in found.text


def test_neither_is_an_error_that_says_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"neither evaluation\.csv nor log\.jsonl.*transmodal train"):
        report(tmp_path)
    with pytest.raises(InputError, match="there is no such folder"):
        report(tmp_path / "nowhere")


def test_failures_warnings_recipe_and_environment_are_there(run_of: Make) -> None:
    folder = run_of(["a"])
    facts = json.loads((folder / "run.json").read_text()) | {"warnings": ["spacing differs"]}
    (folder / "run.json").write_text(json.dumps(facts))
    found = page_of(folder)
    for words in ("sub-x: is <b>broken</b>", "spacing differs", "0123456789abcdef", "torch 2.13.0", "lr = 0.0002"):
        assert words in found.text, words
    assert {"evaluation.csv", "log.jsonl", "c0/", "pix2pix/"} < {row[0] for row in found.rows}
    assert ["pix2pix/", "1 file(s)"] in found.rows


def test_settings_of_evaluate_hold_failures_too(run_of: Make) -> None:
    folder = run_of(["a"])
    settings = {"failures": {"sub-y": "has no mask"}, "without_prediction": ["sub-z"]}
    (folder / "evaluation.json").write_text(json.dumps({"summary": [], "settings": settings}))
    found = page_of(folder)
    assert "sub-y: has no mask" in found.text
    assert "sub-z" in found.text


def test_values_without_a_mean_are_counted(run_of: Make) -> None:
    folder = run_of(["a", "b"])
    text = (folder / "evaluation.csv").read_text()
    (folder / "evaluation.csv").write_text(
        text.replace("a,pix2pix,mask,PSNR,3d masked,20.0", "a,pix2pix,mask,PSNR,3d masked,inf")
    )
    found = page_of(folder)
    assert "pix2pix, PSNR: 1 infinite value(s) are left out of the mean." in found.text
    assert "The means rest on different numbers of cases (n = 1–2)" in found.text
    assert "∞" in found.text


def test_equal_folders_give_equal_pages_wherever_they_are_written(run_of: Make, tmp_path: Path) -> None:
    folder = run_of(["a", "b"])
    one = report(folder).read_bytes()
    assert report(folder).read_bytes() == one
    other = Page(report(folder, tmp_path / "sub" / "other.html").read_text())
    assert [a for a in other.addresses if a.startswith("data:")] == [
        a for a in Page(one.decode()).addresses if a.startswith("data:")
    ]


def test_methods_text_says_what_the_folder_says_and_no_more(run_of: Make) -> None:
    folder = run_of(["a", "b"])
    whole = page_of(folder).text
    for clause in (
        "FLAIR images were synthesised from T1w with pix2pix in Transmodal 0.1.0.",
        "The 6 cases were split into 3 for training, 1 for validation and 2 for testing (fold 1 of 5).",
        "Training took 8 updates with batches of 8 axial slices (per process) by Adam at a learning rate of "
        "0.0002 (linear schedule) and seed 7; the weights kept are those with the best validation MAE.",
        "pix2pix was evaluated on 2 cases by MAE and PSNR and compared with the floors identity and mean",
        "Computations used Python 3.11.7 and PyTorch 2.13.0.",
    ):
        assert clause in whole, clause
    facts = json.loads((folder / "run.json").read_text())
    del facts["recipe"]["training"], facts["split"], facts["environment"]
    (folder / "run.json").write_text(json.dumps(facts))
    part = page_of(folder).text
    for word in ("Training took", "were split", "Computations used", "Transmodal 0.1.0"):
        assert word not in part
    assert "with pix2pix in Transmodal." in part


@pytest.mark.parametrize(("regions", "folds"), [(2, 0), (6, 5)])
def test_regions_have_tables_of_their_own(run_of: Make, regions: int, folds: int) -> None:
    folder = run_of(["a"])
    for name in ("run.json", "log.jsonl", "report.json"):
        (folder / name).unlink()
    lines = (folder / "evaluation.csv").read_text().splitlines()
    more = [line.replace(",mask,", f",area {i},") for i in range(1, regions) for line in lines[1:]]
    (folder / "evaluation.csv").write_text("\n".join([*lines, *more]) + "\n")
    found = page_of(folder)
    assert found.tags.count("details") == folds
    assert [row[0] for row in found.rows].count("identity floor") == regions
    assert f"Values of {regions - 1} more region(s) are in evaluation.csv: area 1" in found.text
