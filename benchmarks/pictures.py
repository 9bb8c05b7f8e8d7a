"""The README's pictures: one axial slice of a held-out case, brain only, from runs that judged the same case.

python benchmarks/pictures.py OUT.png CASE RUN [RUN …]
"""

import sys
from pathlib import Path

import nibabel as nib
import numpy as np

from transmodal.data.files import read_json
from transmodal.reporting.figures import panel


def read(folder: Path, name: str) -> np.ndarray:
    return np.asarray(nib.load(folder / name).dataobj, dtype=np.float32)


def main(out: Path, name: str, runs: list[Path]) -> None:
    images: list[tuple[str, np.ndarray]] = []
    for run in runs:
        manifest = read_json(run / "report.json")
        case = next(c for c in manifest["cases"] if c["case"] == name)
        mask = read(run, case["mask"]) > 0
        rows, columns, levels = (np.flatnonzero(mask.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1)))
        level = levels[int(0.58 * len(levels))]
        box = (slice(rows[0] - 2, rows[-1] + 3), slice(columns[0] - 2, columns[-1] + 3))
        inside = mask[(*box, level)]

        def brain(path: str, run: Path = run, box: tuple = box, level: int = level, inside: np.ndarray = inside):
            return np.where(inside, read(run, path)[(*box, level)], np.float32(0))

        reference = brain(case["reference"])
        if not images:
            for source, path in case["sources"].items():
                values = brain(path)
                images.append((source, values / np.percentile(values[inside], 99.5)))
            images.append((f"measured {manifest['target']}", reference))
        method = list(case["predictions"])[-1]
        made = brain(case["predictions"][method])
        images += [(method, made), (f"error of {method}", made - reference)]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(panel(images, (0.0, 1.0)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], [Path(run) for run in sys.argv[3:]])
