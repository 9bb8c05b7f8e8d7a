"""Tissues of the phantom: their codes, and what each contrast is made from.

Relaxation times and proton densities are those of the BrainWeb phantom at 1.5 T (Collins et al., IEEE TMI 17,
1998; Kwan et al., IEEE TMI 18, 1999). HU are textbook values of a head CT. Colours of the cryosection are our
choice, after the look of frozen, stained sections. Deep nuclei, marrow and eye have no entry in BrainWeb; theirs
are ours.
"""

from dataclasses import dataclass


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
        fa: fractional anisotropy where it is not a matter of tracts.
    """

    code: int
    t1: float
    t2: float
    pd: float
    hu: float
    colour: tuple[int, int, int]
    fa: float = 0.1


TISSUES: dict[str, Tissue] = {
    "air": Tissue(0, 1000.0, 50.0, 0.0, -1000.0, (0, 0, 0), 0.0),
    "csf": Tissue(1, 2569.0, 329.0, 1.0, 8.0, (70, 55, 60), 0.04),
    "ventricle": Tissue(2, 2569.0, 329.0, 1.0, 6.0, (60, 45, 50), 0.03),
    "grey": Tissue(3, 833.0, 83.0, 0.86, 38.0, (168, 118, 100), 0.14),
    "white": Tissue(4, 500.0, 70.0, 0.77, 29.0, (218, 192, 162), 0.35),
    "nuclei": Tissue(5, 720.0, 74.0, 0.83, 36.0, (184, 132, 108), 0.2),
    "lesion": Tissue(6, 752.0, 237.0, 0.76, 24.0, (186, 160, 146), 0.15),
    "bone": Tissue(7, 300.0, 2.0, 0.05, 1300.0, (226, 216, 190), 0.05),
    "marrow": Tissue(8, 350.0, 60.0, 0.5, 500.0, (176, 96, 76), 0.05),
    "fat": Tissue(9, 350.0, 70.0, 1.0, -90.0, (228, 204, 140), 0.05),
    "muscle": Tissue(10, 900.0, 47.0, 1.0, 55.0, (140, 56, 48), 0.2),
    "skin": Tissue(11, 900.0, 47.0, 0.9, 40.0, (204, 160, 130), 0.1),
    "eye": Tissue(12, 2400.0, 300.0, 1.0, 12.0, (56, 54, 64), 0.05),
}

BRAIN = ("csf", "ventricle", "grey", "white", "nuclei", "lesion")
"""What the brain mask holds: everything inside the skull."""

CODE = {name: tissue.code for name, tissue in TISSUES.items()}
"""Name → code."""

FREESURFER: dict[str, tuple[int, ...]] = {
    "white": (2, 41, 7, 46, 16, 28, 60, 85, 192, 251, 252, 253, 254, 255),
    "grey": (3, 42, 8, 47, 17, 53, 18, 54, 26, 58, 136, 137, 163, 164),
    "ventricle": (4, 43, 5, 44, 14, 15, 31, 63, 72),
    "csf": (24, 30, 62),
    "nuclei": (10, 49, 11, 50, 12, 51, 13, 52),
    "lesion": (25, 57, 77),
    # Extra-cerebral classes of the SynthSeg training maps; which is which is our reading of where they lie.
    "bone": (515, 530),
    "marrow": (516,),
    "fat": (511,),
    "eye": (506,),
    "muscle": (502, 507, 508, 509, 512, 514),
}
"""Tissue → FreeSurfer codes; cortical parcels (1000 to 2999) are grey, other unknown codes muscle."""
