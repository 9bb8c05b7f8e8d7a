"""PNG slices and arrays come in with the geometry that their sidecar says, or are refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK

from transmodal.data import stacks
from transmodal.data.layout import find_cases
from transmodal.data.prepare import prepare
from transmodal.data.volume import read_volume, write_volume
from transmodal.errors import InputError

GREY = np.random.default_rng(0).integers(0, 256, (5, 6, 11)).astype(np.uint8)
"""X, Y, Z; eleven slices, so that 10 must come after 9."""
LPS: dict[str, Any] = {"spacing": [0.9, 1.1, 3.0], "orientation": "LPS"}


def pngs(folder: Path, values: np.ndarray = GREY, facts: dict[str, Any] | None = LPS) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for z in range(values.shape[2]):
        rows = np.ascontiguousarray(np.swapaxes(values[:, :, z], 0, 1))
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(rows, isVector=rows.ndim == 3), str(folder / f"s{z}.png"))
    if facts is not None:
        (folder / "stack.json").write_text(json.dumps(facts))
    return folder


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(stacks, "warn", found.append)
    return found


def test_slices_are_stacked_in_the_order_of_their_numbers(tmp_path: Path, said: list[str]) -> None:
    volume = read_volume(pngs(tmp_path / "T1w"))
    np.testing.assert_array_equal(volume.data[0], GREY)
    assert volume.grid.orientation == "LPS"
    np.testing.assert_allclose(volume.grid.spacing, LPS["spacing"])
    np.testing.assert_allclose(volume.grid.centre, 0, atol=1e-12)
    assert ["8-bit values" in one for one in said] == [True]
    turned = volume.canonical()
    np.testing.assert_array_equal(turned.data[0], GREY[::-1, ::-1])
    write_volume(turned, tmp_path / "T1w.nii.gz")
    assert read_volume(tmp_path / "T1w.nii.gz").grid.same_as(turned.grid)


@pytest.mark.parametrize("codes", ["RAS", "SLP", "PIR", "IAL"])
def test_axes_point_where_the_sidecar_says(codes: str, tmp_path: Path) -> None:
    np.save(tmp_path / "T1w.npy", GREY.astype(np.float32) + 0.5)
    (tmp_path / "T1w.json").write_text(json.dumps({"spacing": [1, 2, 4], "orientation": codes}))
    volume = read_volume(tmp_path / "T1w.npy")
    assert volume.grid.orientation == codes
    np.testing.assert_allclose(volume.grid.spacing, [1, 2, 4])
    np.testing.assert_array_equal(volume.data[0], GREY + np.float32(0.5))


def test_colour_and_sixteen_bits_and_units(tmp_path: Path, said: list[str]) -> None:
    colour = np.stack([GREY, GREY // 2, 255 - GREY], axis=-1)
    np.testing.assert_array_equal(read_volume(pngs(tmp_path / "cryo", colour)).data, np.moveaxis(colour, -1, 0))
    np.save(tmp_path / "cryo.npy", colour)
    (tmp_path / "cryo.json").write_text(json.dumps(LPS))
    np.testing.assert_array_equal(read_volume(tmp_path / "cryo.npy").data, np.moveaxis(colour, -1, 0))
    assert said == []
    deep = (GREY.astype(np.uint16) << 8) + 7
    np.testing.assert_array_equal(read_volume(pngs(tmp_path / "deep", deep)).data[0], deep)
    assert said == []
    units = read_volume(pngs(tmp_path / "CT", facts={**LPS, "range": [-1024, 3071]})).data[0]
    np.testing.assert_allclose(units, -1024 + GREY / 255.0 * 4095, atol=1e-3)
    # What eight bits cost of CT, which is why it is warned about: steps of 16 HU.
    assert np.diff(np.unique(units)).min() > 16
    labels = read_volume(tmp_path / "CT", label=True).data[0]
    np.testing.assert_array_equal(labels, GREY)


def test_one_sidecar_serves_a_whole_dataset(tmp_path: Path) -> None:
    ball = (np.indices((12, 12, 12)) - 5.5).__pow__(2).sum(axis=0) < 20
    for case in ("a", "b"):
        for name in ("T1w", "T2w"):
            values = np.where(ball, np.random.default_rng(1).integers(100, 250, ball.shape), 0).astype(np.uint8)
            pngs(tmp_path / "set" / case / name, values, None)
    (tmp_path / "set" / "stack.json").write_text(json.dumps({"spacing": [2, 2, 2], "orientation": "RAS"}))
    assert [sorted(c.images) for c in find_cases(tmp_path / "set")] == [["T1w", "T2w"]] * 2
    assert prepare(tmp_path / "set", tmp_path / "out").case("a").grid.spacing == (2.0, 2.0, 2.0)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (None, r'write \{"spacing": \[mm, mm, mm\], "orientation": "LPS"\} into .*stack\.json'),
        ({"spacing": [1, 1, 1]}, "lacks 'spacing' or 'orientation'"),
        ({**LPS, "spacing": [1, 1]}, "not three lengths"),
        ({**LPS, "spacing": [1, 1, -1]}, "not three lengths"),
        ({**LPS, "orientation": "LPA"}, "one letter of each"),
        ({**LPS, "orientation": 5}, "one letter of each"),
        ({**LPS, "range": [3, 1]}, "not two rising numbers"),
    ],
)
def test_sidecars_that_make_no_sense(facts: dict[str, Any] | None, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        read_volume(pngs(tmp_path / "T1w", facts=facts))


def test_files_that_cannot_be_stacked(tmp_path: Path) -> None:
    folder = pngs(tmp_path / "T1w")
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.ones((4, 4), np.uint8)), str(folder / "s3.png"))
    with pytest.raises(InputError, match=r"s3\.png: its size or type is not that of s0\.png"):
        read_volume(folder)
    (folder / "s3.png").write_bytes((folder / "s0.png").read_bytes()[:40])
    with pytest.raises(InputError, match=r"s3\.png: cannot be read as PNG"):
        read_volume(folder)
    (tmp_path / "x.json").write_text(json.dumps(LPS))
    np.save(tmp_path / "x.npy", np.array([object()]), allow_pickle=True)
    with pytest.raises(InputError, match=r"x\.npy: cannot be read as an array of numbers"):
        read_volume(tmp_path / "x.npy")
    np.save(tmp_path / "x.npy", np.ones((3, 4)))
    with pytest.raises(InputError, match="where \\(X, Y, Z\\)"):
        read_volume(tmp_path / "x.npy")
    np.save(tmp_path / "x.npy", np.ones((3, 4, 5), complex))
    with pytest.raises(InputError, match="not real numbers"):
        read_volume(tmp_path / "x.npy")


def test_pictures_beside_scans_are_no_scans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("transmodal.data.layout.warn", said.append)
    ball = np.where((np.indices((12, 12, 12)) - 5.5).__pow__(2).sum(axis=0) < 20, 100.0, 0.0).astype(np.float32)
    for case in ("a", "b"):
        (tmp_path / case).mkdir()
        np.save(tmp_path / case / "T1w.npy", ball)
        (tmp_path / case / "T1w.json").write_text(json.dumps(LPS))
        pngs(tmp_path / case / "figures", facts=None)
    pngs(tmp_path / "a" / "one", GREY[:, :, :1], None)
    (tmp_path / "overview.png").write_bytes((tmp_path / "a" / "figures" / "s0.png").read_bytes())
    assert [set(case.images) for case in find_cases(tmp_path)] == [{"T1w"}, {"T1w"}]
    assert len(said) == 2
    assert not stacks.is_stack(tmp_path)


def test_a_slice_that_is_missing_or_twice_is_refused(tmp_path: Path, said: list[str]) -> None:
    folder = pngs(tmp_path / "T1w")
    (folder / "s4.png").rename(tmp_path / "s4.png")
    with pytest.raises(InputError, match=r"T1w: slice 4 is missing between s3\.png and s5\.png, .* by 1 else"):
        read_volume(folder)
    (tmp_path / "s4.png").rename(folder / "s4.png")
    (folder / "s04.png").write_bytes((folder / "s4.png").read_bytes())
    with pytest.raises(InputError, match=r"s0?4\.png: s0?4\.png is the slice with this number, too; keep one"):
        read_volume(folder)
    (folder / "s04.png").unlink()
    # Numbers may begin anywhere and rise by any step, as long as it is one.
    for z in range(10, -1, -1):
        (folder / f"s{z}.png").rename(folder / f"s{100 + 5 * z}.png")
    np.testing.assert_array_equal(read_volume(folder).data[0], GREY)
    (folder / "s125.png").unlink()
    with pytest.raises(InputError, match=r"slice 125 is missing between s120\.png and s130\.png, .* rise by 5"):
        read_volume(folder)


def test_names_of_another_pattern_are_read_in_natural_order(tmp_path: Path, said: list[str]) -> None:
    """Two numbers that change, and names that are words: nothing says what lies between them."""
    two = pngs(tmp_path / "two")
    for z in range(11):
        (two / f"s{z}.png").rename(two / f"slice{z}_at{z * z}mm.png")
    np.testing.assert_array_equal(read_volume(two).data[0], GREY)
    words = pngs(tmp_path / "words", GREY[:, :, :3])
    for z, name in enumerate(("bottom", "middle", "top_9")):
        (words / f"s{z}.png").rename(words / f"{name}.png")
    np.testing.assert_array_equal(read_volume(words).data[0], GREY[:, :, :3])


def test_the_sidecar_may_say_how_many_slices_there_are(tmp_path: Path, said: list[str]) -> None:
    folder = pngs(tmp_path / "T1w", facts={**LPS, "slices": 11})
    np.testing.assert_array_equal(read_volume(folder).data[0], GREY)
    (folder / "s10.png").unlink()
    with pytest.raises(InputError, match=r"T1w: holds 10 slices, and .*stack\.json says 11; copy the rest"):
        read_volume(folder)
