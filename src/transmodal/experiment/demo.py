"""demo(): the main job from end to end on heads that nobody has, in about two minutes on two cores."""

import tomllib
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

from transmodal import progress
from transmodal.data.files import check_folder, read_json
from transmodal.data.phantom.cohort import PhantomSettings, write_cohort
from transmodal.errors import Refused
from transmodal.experiment.train import train
from transmodal.inference.files import synthesize_paths
from transmodal.recipe import Recipe, make_recipe
from transmodal.reporting.folder import read_folder
from transmodal.reporting.html import report
from transmodal.schema import override, plain


def demo_recipe(out: Path, seed: int = 0) -> Recipe:
    """The embedded recipe, for a cohort in ``out/phantom``."""
    table = tomllib.loads(files("transmodal.experiment").joinpath("demo.toml").read_text(encoding="utf-8"))
    return make_recipe(override(table, [f"data.path={out / 'phantom'}", f"training.seed={seed}"]), "demo")


def demo(
    out: Path | str = "demo", *, seed: int = 0, force: bool = False, settings: PhantomSettings | None = None,
    recipe: Recipe | None = None,
) -> list[str]:  # fmt: skip
    """Make a phantom cohort, train on it, synthesise the held-out heads, judge and report.

    A demo that is finished is shown, not repeated; an unfinished one is begun again.

    Args:
        out: folder for ``report.html``, ``evaluation.csv``, ``synthesis/``, ``model/``.
        seed: of the phantom and of the training.
        force: repeat a finished demo.
        settings: another cohort; eight heads with T1w and FA by default.
        recipe: another recipe; the embedded one by default.

    Returns:
        Lines for the user: the table, and where things are.

    Raises:
        Refused: ``out`` holds something that no demo wrote.
    """
    out = Path(out)
    check_folder(out)
    settings = settings or PhantomSettings(subjects=8, contrasts=("T1w", "FA"), seed=seed)
    recipe = recipe or demo_recipe(out, seed)
    page = out / "report.html"
    if out.exists() and any(out.iterdir()) and not (out / "phantom").is_dir():
        raise Refused(f"{out}: holds something that is not a demo; give another --out")
    if force or not (page.exists() and _same(out, recipe, settings)):
        page.unlink(missing_ok=True)
        _cohort(out / "phantom", settings)
        train(recipe, out, force=True)
        _synthesise(out)
        report(out)
    table = read_folder(out).scores
    made = sorted((out / "synthesis").glob("*.nii.gz"))
    return [table, "", f"synthetic volumes: {', '.join(str(path) for path in made)}", f"report: {page}"]


def _same(out: Path, recipe: Recipe, settings: PhantomSettings) -> bool:
    record = out / "run.json"
    return (
        record.exists()
        and read_json(record)["hash"] == recipe.hash
        and read_json(out / "phantom" / "phantom.json") == plain(asdict(settings))
    )


def _cohort(folder: Path, settings: PhantomSettings) -> None:
    known = folder / "phantom.json"
    if known.exists() and read_json(known) == plain(asdict(settings)):
        return
    progress.say(f"drawing {settings.subjects} heads")
    write_cohort(folder, settings)


def _synthesise(out: Path) -> None:
    """The held-out heads once more, as a user would do it: from the raw scan, onto its grid."""
    sources = read_json(out / "run.json")["recipe"]["data"]["sources"]
    for case in read_json(out / "run.json")["split"]["test"]:
        images = [f"{name}={out / 'phantom' / case / name}.nii.gz" for name in sources]
        target = read_json(out / "model" / "model.json")["task"]["targets"][0]
        synthesize_paths(out / "model", images, out / "synthesis" / f"{case}_synth-{target}.nii.gz", force=True)
