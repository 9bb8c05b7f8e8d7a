"""Tissues of the phantom: their codes, and what each contrast is made from.

Relaxation times and proton densities of fluid, grey and white matter, fat, muscle and lesion are those of the
BrainWeb phantom at 1.5 T (Collins et al., "Design and construction of a realistic digital brain phantom", IEEE TMI
17:463, 1998; Kwan et al., "MRI simulation-based evaluation of image-processing and classification methods", IEEE
TMI 18:1085, 1999). BrainWeb has no entry for deep nuclei (here between grey and white matter), skin (here as
muscle), marrow (here as fat with less water), eye (here as fluid with protein), bone (here almost no signal) and cord
(here between grey and white matter); those are ours. HU are textbook values of a head CT. Diffusivities
are round numbers from the diffusion literature. Colours of the cryosection are ours, after the look of frozen tissue.
"""

from dataclasses import dataclass

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Tissue:
    """One tissue.

    Attributes:
        code: in label maps.
        t1: longitudinal relaxation time in ms.
        t2: transverse relaxation time in ms.
        pd: proton density relative to water.
        hu: CT number in HU.
        colour: of a cryosection, RGB 0 to 255.
        along: diffusivity along the fibres in µm²/ms.
        across: diffusivity across them in µm²/ms; the same where there are none.
    """

    code: int
    t1: float
    t2: float
    pd: float
    hu: float
    colour: Colour
    along: float = 0.8
    across: float = 0.8


TISSUES: dict[str, Tissue] = {
    "air": Tissue(0, 1000.0, 50.0, 0.0, -1000.0, (0, 0, 0)),
    "csf": Tissue(1, 2569.0, 329.0, 1.0, 8.0, (74, 52, 52), 3.0, 3.0),
    "ventricle": Tissue(2, 2569.0, 329.0, 1.0, 6.0, (62, 44, 48), 3.0, 3.0),
    "grey": Tissue(3, 833.0, 83.0, 0.86, 38.0, (172, 122, 102), 0.9, 0.75),
    "white": Tissue(4, 500.0, 70.0, 0.77, 29.0, (224, 202, 172), 1.75, 0.3),
    "thalamus": Tissue(5, 660.0, 76.0, 0.82, 36.0, (190, 148, 124), 1.0, 0.65),
    "lesion": Tissue(6, 752.0, 237.0, 0.76, 24.0, (184, 166, 152), 1.3, 0.9),
    "bone": Tissue(7, 300.0, 2.0, 0.05, 1300.0, (228, 218, 192)),
    "marrow": Tissue(8, 350.0, 60.0, 0.5, 500.0, (178, 98, 76)),
    "fat": Tissue(9, 350.0, 70.0, 1.0, -100.0, (230, 206, 142)),
    "muscle": Tissue(10, 900.0, 47.0, 1.0, 55.0, (142, 58, 48)),
    "skin": Tissue(11, 900.0, 47.0, 0.9, 40.0, (204, 160, 130)),
    "eye": Tissue(12, 2400.0, 300.0, 1.0, 12.0, (56, 54, 64)),
    "caudate": Tissue(13, 790.0, 80.0, 0.85, 38.0, (168, 124, 106), 0.85, 0.7),
    "putamen": Tissue(14, 750.0, 76.0, 0.84, 38.0, (166, 120, 102), 0.85, 0.7),
    "pallidum": Tissue(15, 600.0, 64.0, 0.8, 40.0, (192, 150, 118), 1.0, 0.65),
    "cord": Tissue(16, 650.0, 76.0, 0.8, 36.0, (214, 184, 152), 1.6, 0.4),
    "spinal_fluid": Tissue(17, 2569.0, 329.0, 1.0, 8.0, (74, 52, 52), 3.0, 3.0),
}

DEEP = ("thalamus", "caudate", "putamen", "pallidum")
"""The deep nuclei."""

BRAIN = ("csf", "ventricle", "grey", "white", *DEEP, "lesion")
"""What the brain mask holds: everything inside the skull."""

CODE = {name: tissue.code for name, tissue in TISSUES.items()}
"""Name → code."""
