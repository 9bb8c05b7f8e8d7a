"""From a folder of scans to a model, a synthetic volume and scores, in Python.

    python examples/01_from_scans_to_scores.py OUT

The scans here are phantom heads; put your own folder or table in ``data.path``.
"""

import sys
from pathlib import Path

import nibabel

import transmodal
from transmodal.data.phantom.cohort import PhantomSettings, write_cohort
from transmodal.recipe import make_recipe


def main(out: Path) -> None:
    settings = PhantomSettings(subjects=4, size=(32, 32, 32), spacing=6.9, contrasts=("T1w", "FA"))
    scans = write_cohort(out / "scans", settings, workers=1)
    recipe = make_recipe(
        {
            "data": {"path": str(scans), "sources": ["T1w"], "targets": ["FA"], "folds": 4},
            "sampling": {"size": [32, 32]},
            "method": {"name": "regression", "width": 8, "depth": 2},
            "training": {
                "steps": 150,
                "validate_every": 0,
                "optimizer": {"lr": 2e-3, "schedule": "cosine", "hold": 0.0},
            },
        }
    )
    print(transmodal.train(recipe, out / "run"))  # the method beside both floors

    model = transmodal.load_model(out / "run" / "model")
    t1w = nibabel.load(scans / "sub-001" / "T1w.nii.gz")
    fa = transmodal.synthesize(model, t1w)
    nibabel.save(fa, out / "sub-001_synth-FA.nii.gz")
    print("report:", transmodal.report(out / "run"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
