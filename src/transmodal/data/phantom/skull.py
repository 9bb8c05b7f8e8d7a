"""What surrounds the brain: scalp, skull with diploe, face, eyes, airways, jaw and neck.

Sizes are set by eye after radiological atlases, not measured; the left half mirrors the right before the head is bent.
"""

import numpy as np

from transmodal.data.phantom.noise import Field, Noise
from transmodal.data.phantom.solids import Canvas, Place, Triple, ellipsoid, join, tube

_ORBIT: Triple = (31.0, 70.0, -29.0)
_FORAMEN_Z = -66.0
"""Where the skull ends and the spine begins."""


def paint_head(canvas: Canvas, at: Place, cranium: Field, noise: Noise) -> None:
    """Everything outside the cavity of the skull.

    Args:
        canvas: painted on; air so far.
        at: where the voxels are.
        cranium: distance to the inside of the skull, negative in the cavity.
        noise: of this subject.
    """
    rng = noise.stream("skull")
    bone = np.float32(rng.uniform(5.5, 7.5)) + np.float32(0.9) * noise("skull", 30.0)
    scalp = np.float32(rng.uniform(5.5, 7.5)) + np.float32(0.8) * noise("scalp", 30.0)
    surface = _surface(at, cranium - bone - scalp, noise)
    fat = np.float32(rng.uniform(2.5, 4.5)) + np.float32(0.8) * noise("fat", 25.0)
    # Cheeks and neck carry more fat than the vault.
    fat += 3 * np.clip((-25 - at.z) / 30, 0, 1)
    canvas.paint("skin", surface)
    canvas.paint("fat", surface + 2)
    canvas.paint("muscle", surface + 2 + fat)
    _marbling(canvas, at, surface + 3 + fat, noise)
    _bones(canvas, at, surface)
    # Around the spinal canal the bone is thinner than in the vault, and broken between vertebrae.
    spine = np.clip((_FORAMEN_Z - at.z) / 10, 0, 1)
    gaps = 3.5 * np.clip(np.sin(at.z / 2.6) - 0.3, 0, 1) * spine
    wall = np.maximum(cranium - bone + gaps, surface + 3)
    canvas.paint("bone", wall)
    inner, outer = 0.28 * bone, 0.68 * bone + 0.3 * noise("diploe", 12.0)
    diploe = np.maximum(np.maximum(inner - cranium, cranium - outer), -12 - at.z)
    canvas.paint("marrow", diploe)
    _airways(canvas, at)
    _eyes(canvas, at)


def _surface(at: Place, vault: Field, noise: Noise) -> Field:
    x, y, z = np.abs(at.x), at.y, at.z
    face = ellipsoid(x, y, z, (0, 38, -54), (57, 50, 54))
    chin = ellipsoid(x, y, z, (0, 62, -96), (32, 27, 20))
    neck = np.maximum(np.hypot(x / 1.02, y + 20) - 55 + 0.06 * (z + 90), z + 40)
    cheek = ellipsoid(x, y, z, (26, 60, -58), (26, 26, 26))
    body = join(join(join(vault, face, 14), join(chin, cheek, 12), 14), neck, 24)
    nose = tube(x, y, z, [(0, 86, -18, 4), (0, 103, -46, 7), (0, 94, -54, 9)])
    brow = tube(x, y, z, [(6, 84, -10, 7), (38, 70, -12, 7)])
    body = join(join(body, nose, 7), brow, 12)
    # The eye lies in a hollow.
    body = np.maximum(body, -ellipsoid(x, y, z, (31, 98, -30), (17, 15, 10)))
    ear = ellipsoid(x, y + 0.5 * (x - 80), z, (81, -14, -26), (9, 14, 26))
    return (join(body, ear, 4) + 0.7 * noise("surface", 22.0)).astype(np.float32)


def _marbling(canvas: Canvas, at: Place, inside: Field, noise: Noise) -> None:
    """Sheets of fat between the muscles, and the chewing muscle's place behind the cheek bone."""
    sheets = np.abs(noise("marbling", 13.0)) * 12 - 1.3
    canvas.paint("fat", np.maximum(np.maximum(sheets, inside), at.z + 5))


def _bones(canvas: Canvas, at: Place, surface: Field) -> None:
    box = at.box((-66, -20, -112), (66, 96, -14))
    p, skin = at.part(box), surface[box] + 4
    x, y, z = np.abs(p.x), p.y, p.z
    jaw = tube(x, y, z, [(50, 6, -40, 4), (47, 10, -80, 6), (28, 56, -97, 6.5), (0, 70, -99, 7)])
    teeth = tube(x, y, z, [(24, 36, -78, 6), (20, 62, -78, 6), (0, 76, -78, 6)])
    cheek = tube(x, y, z, [(64, 8, -38, 3), (57, 42, -42, 4), (40, 66, -46, 5.5), (26, 66, -60, 6)])
    rim = np.abs(ellipsoid(x, y, z, (30, 60, -29), (20, 26, 18))) - 1.6
    palate = ellipsoid(x, y, z, (0, 50, -66), (22, 28, 3.5))
    nasal = tube(x, y, z, [(0, 82, -20, 4), (0, 92, -34, 3)])
    base = ellipsoid(x, y, z, (0, 20, -36), (24, 22, 14))
    for part in (base, jaw, teeth, cheek, np.maximum(rim, y - 78), palate, nasal):
        canvas.paint("bone", np.maximum(part, skin), box)
    canvas.paint("marrow", np.maximum(base + 3, skin), box)
    canvas.paint("marrow", np.maximum(jaw + 3.2, skin), box)


def _airways(canvas: Canvas, at: Place) -> None:
    box = at.box((-42, 0, -120), (42, 96, 12))
    p = at.part(box)
    x, y, z = np.abs(p.x), p.y, p.z
    nasal = ellipsoid(x, y, z, (0, 58, -48), (11, 30, 17))
    # Conchae and septum leave narrow passages.
    shells = np.float32(2.2) - np.abs(((x + 0.25 * z) % 7.0) - 3.5)
    throat = tube(x, y, z, [(0, 30, -48, 8), (0, 18, -66, 7), (0, 14, -125, 8)])
    sinuses = [
        ellipsoid(x, y, z, (25, 56, -53), (12, 15, 13)),
        ellipsoid(x, y, z, (7, 30, -33), (7, 11, 8)),
        ellipsoid(x, y, z, (10, 80, -4), (9, 4, 7)),
    ]
    for sinus in sinuses:
        canvas.paint("bone", sinus - 1.4, box)
        canvas.paint("air", sinus, box)
    canvas.paint("muscle", nasal - 1, box)
    canvas.paint("air", np.maximum(nasal, shells), box)
    canvas.paint("air", throat, box)
    mouth = ellipsoid(x, y, z, (0, 50, -74), (19, 24, 3))
    canvas.paint("air", mouth, box)


def _eyes(canvas: Canvas, at: Place) -> None:
    cx, cy, cz = _ORBIT
    box = at.box((-54, 28, -50), (54, 86, -8))
    p = at.part(box)
    x, y, z = np.abs(p.x), p.y, p.z
    cone = tube(x, y, z, [(cx, cy - 2, cz, 16), (16, 34, -26, 3)])
    canvas.paint("fat", cone, box)
    nerve = tube(x, y, z, [(cx, cy - 10, cz, 2), (16, 34, -26, 2)])
    canvas.paint("white", nerve, box)
    muscles = np.abs(tube(x, y, z, [(cx, cy - 4, cz, 11), (16, 36, -26, 3)])) - 1.2
    canvas.paint("muscle", np.maximum(muscles, y - cy + 2), box)
    ball = ellipsoid(x, y, z, (cx, cy + 2, cz), (12, 12, 12))
    canvas.paint("muscle", ball, box)
    canvas.paint("eye", ball + 1, box)
    lens = ellipsoid(x, y, z, (cx, cy + 11, cz), (4.5, 2.2, 4.5))
    canvas.paint("muscle", lens, box)
