"""Commands that train, use, judge and report."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from transmodal.commands.voice import Speak, Voice, Words


@dataclass(frozen=True)
class Demo:
    """Train on a digital phantom, synthesise held-out heads, judge and report. About two minutes on two cores."""

    out: Path = Path("demo")
    """Folder to write: report.html, evaluation.csv, synthesis/, model/."""
    seed: int = 0
    """Of the phantom and of the training."""
    force: bool = False
    """Replace what an earlier demo wrote there."""
    voice: Speak = field(default_factory=Voice)

    def run(self) -> None:
        from transmodal.experiment.demo import demo

        for line in demo(self.out, seed=self.seed, force=self.force):
            print(line)


@dataclass(frozen=True)
class Train:
    """Train a recipe's method, keep the best model, judge it and both floors on the held-out cases."""

    recipe: Positional[Path]
    """A TOML file; see recipes/."""
    settings: Words = ()
    """key=value words that override it: data.path=SCANS training.steps=500"""
    out: Path = field(kw_only=True)
    """Folder of the run: model/, last/, log.jsonl, evaluation.csv."""
    resume: bool = False
    """Go on with the run in --out as if it had never stopped."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    force: bool = False
    """Replace an earlier run in --out."""
    dry_run: bool = False
    """Only say how much memory it takes."""
    voice: Speak = field(default_factory=Voice)

    def run(self) -> None:
        from transmodal.data.workers import cores
        from transmodal.experiment.forecast import of_training
        from transmodal.experiment.train import train
        from transmodal.recipe import load_recipe

        recipe = load_recipe(self.recipe, self.settings)
        if self.dry_run:
            print(of_training(recipe, self.device))
            return
        table = train(recipe, self.out, resume=self.resume, device=self.device, force=self.force, workers=cores())
        # Of several processes one speaks.
        print(table, end="\n" if table else "")


@dataclass(frozen=True)
class Replay:
    """Do again, on the processor, the turn at which a training diverged, and say every term of its loss."""

    run_folder: Positional[Path]
    """Folder of the run, with diverged/ in it; nothing is written."""
    voice: Speak = field(default_factory=Voice)

    def run(self) -> None:
        from transmodal.experiment.replay import replay

        print(replay(self.run_folder))


@dataclass(frozen=True)
class Calibrate:
    """Learn from held-out people how far a run's model errs, so that synthesize can write intervals."""

    run_folder: Positional[Path]
    """Folder of the run; model/calibration.json and reliability.png are written into it."""
    data: Path | None = None
    """A prepared dataset of people that were not trained on; by default the run's own."""
    part: Literal["test", "val"] = "test"
    """Of the run's people. The weights were chosen on val: what it says is a little too good."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    voice: Speak = field(default_factory=Voice)

    def run(self) -> None:
        from transmodal.experiment.calibrate import calibrate

        print(calibrate(self.run_folder, self.data, part=self.part, device=self.device))


@dataclass(frozen=True)
class Synthesize:
    """Make the missing scan, on exactly the grid of the one that is given."""

    model: Positional[Path]
    """A model folder (RUN/model)."""
    images: Words
    """The model's sources in order, or NAME=FILE words; or one folder or table for a batch."""
    out: Path = field(kw_only=True)
    """A .nii.gz file, or a folder (for a batch always a folder)."""
    mask: Path | None = None
    """Where the head is; otherwise it is found in the first source."""
    settings: Annotated[tuple[str, ...], arg(name="set")] = ()
    """key=value of the recipe's [inference]: planes=["axial","coronal","sagittal"] batch_size=16"""
    stacks: tuple[Literal["axial", "coronal", "sagittal"], ...] = ()
    """Write each volume as folders of PNG slices as well: axial coronal"""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    engine: Literal["auto", "torch", "onnx"] = "auto"
    """torch, or onnx for an exported model; auto takes the one that was faster at export, torch with a GPU."""
    force: bool = False
    """Overwrite files that exist; and go on with a scan unlike those that the model was trained on."""
    interval: float = 0.0
    """Also write *_lower and *_upper volumes that hold this share of the voxels (0.9); see calibrate."""
    dry_run: bool = False
    """Only say how much memory it takes."""
    scheduler: str = ""
    """Let a Dask cluster do a batch: tcp://HOST:8786, or local; docs/cluster.md."""
    voice: Speak = field(default_factory=Voice)

    def run(self) -> None:
        from transmodal.inference.files import synthesize_paths

        if self.dry_run:
            from transmodal.experiment.forecast import of_synthesis

            print(of_synthesis(
                self.model, self.images, mask=self.mask, settings=self.settings, device=self.device,
                engine=self.engine, interval=self.interval,
            ))  # fmt: skip
            return
        for path in synthesize_paths(
            self.model, self.images, self.out, mask=self.mask, settings=self.settings,
            device=self.device, engine=self.engine, force=self.force, stacks=self.stacks, interval=self.interval,
            scheduler=self.scheduler,
        ):  # fmt: skip
            print(path)


@dataclass(frozen=True)
class Evaluate:
    """Compare predicted volumes with measured ones: masked, whole-volume, one row per case and metric."""

    prediction: Positional[Path]
    """A volume, or a folder of volumes."""
    reference: Positional[Path]
    """A volume, a folder or a table."""
    out: Path = field(kw_only=True)
    """Folder for evaluation.csv and evaluation.json."""
    mask: Path | None = None
    """A mask, or a folder of masks; without one the whole volume counts, which flatters."""
    method: str = "prediction"
    """Name for the method column."""
    target: str | None = None
    """Modality, where the reference holds several (and for its unit and range): FLAIR, CT, FA …"""
    data_range: float | None = None
    """Range for PSNR and SSIM in the data's unit; else the modality's, else the reference's own."""
    labels: Path | None = None
    """A label map, or a folder of them: lesion and healthy rest are scored apart in the passport."""
    passport: bool = False
    """Score under every named convention, side by side: passport.md and passport.json."""
    features: Path | None = None
    """VGG-19's weights, for the passport's LPIPS, FID and KID."""
    workers: int = 0
    """Processes; 0 for one a core."""
    scheduler: str = ""
    """Let a Dask cluster work: tcp://HOST:8786, or local; docs/cluster.md."""
    voice: Speak = field(default_factory=Voice)

    def run(self) -> None:
        from transmodal.data.workers import cores
        from transmodal.evaluation.evaluate import evaluate
        from transmodal.reporting.folder import read_folder

        evaluate(
            self.prediction, self.reference, out=self.out, mask=self.mask, method=self.method,
            data_range=self.data_range, target=self.target, labels=self.labels, passport=self.passport,
            features=self.features, workers=self.workers or cores(), scheduler=self.scheduler,
        )  # fmt: skip
        print((self.out / "passport.md").read_text() if self.passport else read_folder(self.out).scores)


@dataclass(frozen=True)
class Compare:
    """Rank judged runs, or folders of anybody's scores, on the cases that all of them have; trains nothing."""

    folders: Words
    """What train or evaluate wrote, or NAME=FOLDER; those with one name are folds or seeds of one recipe."""
    out: Path = field(kw_only=True)
    """Folder for comparison.html, .png, .md, .json, .csv, and duels.csv."""
    metric: str | None = None
    """What to rank by; by default the first of the tables."""
    margin: float | None = None
    """The largest difference that does not matter, in the metric's unit: adds tests of equivalence."""
    voice: Speak = field(default_factory=Voice)

    def run(self) -> None:
        from transmodal.experiment.compare import compare

        print(compare(self.folders, self.out, metric=self.metric, margin=self.margin))


@dataclass(frozen=True)
class Benchmark:
    """Train a suite's recipes on the same folds with the same budget, and compare; run again to go on."""

    suite: Positional[Path]
    """A TOML file that names recipes; see recipes/suites/."""
    settings: Words = ()
    """key=value words over it: data=SCANS minutes=2 seeds=3"""
    out: Path = field(kw_only=True)
    """Folder for runs/ and the comparison."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    voice: Speak = field(default_factory=Voice)

    def run(self) -> None:
        from transmodal.data.workers import cores
        from transmodal.experiment.benchmark import benchmark

        print(benchmark(self.suite, self.out, self.settings, device=self.device, workers=cores()))


@dataclass(frozen=True)
class Card:
    """Write the model card: data, results on people it never saw, groups, failures, lesions, licences."""

    runs: Words
    """A run that is finished; then further folds or seeds of its recipe, whose people count, too."""
    passport: bool = True
    """Score kept predictions under every convention."""
    voice: Speak = field(default_factory=Voice)

    def run(self) -> None:
        from transmodal.experiment.card import card

        print(card(self.runs, passport=self.passport))


@dataclass(frozen=True)
class Report:
    """One self-contained HTML page from a run or an evaluation."""

    folder: Positional[Path]
    """A run's folder, or one that evaluate wrote."""
    out: Path | None = None
    """The page; by default report.html in the folder."""
    voice: Speak = field(default_factory=Voice)

    def run(self) -> None:
        from transmodal.reporting.html import report

        print(report(self.folder, self.out))
