"""Score two folders of volumes, whoever made them, under every convention, and compare two methods in pairs.

    python examples/03_two_folders_to_a_passport.py OUT

The volumes here are made up; put your own folders of ``<case>.nii.gz`` in their place. No training code is needed.
"""

import sys
from pathlib import Path

import nibabel
import numpy as np

from transmodal.evaluation import equivalence, evaluate, paired


def main(out: Path) -> None:
    make_folders(out)
    values = {}
    for method in ("ours", "theirs"):
        folder, scores = out / method, out / f"scores_{method}"
        rows = evaluate(
            folder, out / "measured", mask=out / "masks", out=scores, target="CT", method=method, passport=True
        )
        values[method] = {r.case: r.value for r in rows if (r.metric, r.convention) == ("MAE", "3d masked")}
    print((out / "scores_ours" / "passport.md").read_text())

    found = paired(values["theirs"], values["ours"])
    print(f"ours - theirs: {found.mean:.1f} HU [{found.interval.low:.1f}, {found.interval.high:.1f}]")
    print(f"({found.interval.how}), n = {found.n}, p = {found.p:.3g}, rank-biserial r = {found.effect:.2f}")
    shown = equivalence([values["ours"][case] - values["theirs"][case] for case in values["ours"]], margin=10.0)
    print(f"equivalent within ± {shown.margin} HU: p = {shown.p:.3g} ({shown.test})")


def make_folders(out: Path) -> None:
    rng = np.random.default_rng(0)
    x, y, z = np.indices((26, 24, 22)) - np.array([12.5, 11.5, 10.5])[:, None, None, None]
    head = x**2 / 100 + y**2 / 90 + z**2 / 80 <= 1
    for case in range(8):
        ct = np.where(head, 40 + 300 * np.sin(x / 3 + case) * np.cos(y / 4 + z), -1024)
        volumes = {"measured": ct, "masks": head.astype(np.uint8)}
        volumes["ours"] = ct + head * rng.normal(0, 40 + case, ct.shape)
        volumes["theirs"] = ct + head * rng.normal(0, 60 - case, ct.shape)
        for folder, data in volumes.items():
            (out / folder).mkdir(exist_ok=True, parents=True)
            image = nibabel.Nifti1Image(data.astype(np.float32), np.diag([2.0, 2.0, 2.0, 1.0]))
            nibabel.save(image, out / folder / f"sub-{case:02d}.nii.gz")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
