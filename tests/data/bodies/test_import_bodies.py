"""Published bodies come in from trees laid out as they are handed out; another tree is a sentence."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK

from transmodal import cli
from transmodal.data.bodies import sections, visible_human
from transmodal.data.bodies.embedding import body
from transmodal.data.bodies.sections import shrunk
from transmodal.data.bodies.sources import import_body
from transmodal.data.layout import find_cases
from transmodal.data.prepare import PrepareSettings, prepare
from transmodal.data.volume import read_volume
from transmodal.errors import InputError, RecipeError, Refused

WIDTH, HEIGHT = 48, 36
GELATINE, MUSCLE, AIRWAY = (40, 90, 160), (150, 60, 50), (50, 100, 170)


def photograph(number: float) -> np.ndarray:
    """Rows, columns, colour: an ellipse of muscle in gelatine, with an airway full of it; darker further down."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    image = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    image[:] = GELATINE
    inside = ((x - 20) / 15) ** 2 + ((y - 18) / 12) ** 2 < 1
    image[inside] = np.array(MUSCLE) - int(number) % 100
    image[15:21, 18:24] = AIRWAY
    return image


def picture(file: Path, values: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(values, isVector=values.ndim == 3), str(file))


@pytest.fixture
def male(tmp_path: Path) -> Path:
    """Male-Images as the NLM has them: regions that overlap by number, two sections lost, MRI each 4 mm."""
    tree = tmp_path / "Male-Images" / "PNG_format"
    for region, numbers in (("head", range(1001, 1025)), ("thorax", range(1020, 1042))):
        for number in set(numbers) - {1010, 1030}:
            picture(tree / region / f"a_vm{number}.png", photograph(number))
    for number in range(1002, 1042, 4):
        y, x = np.mgrid[:16, :18]
        slice_ = (np.hypot(x - 9, y - 8) < 6) * np.uint16(500 + number - 1000)
        picture(tree / "radiological" / "mri" / f"mvm{number}t.png", slice_.astype(np.uint16))
    picture(tree / "radiological" / "frozenCT" / "cvm1010f.png", np.zeros((4, 4), np.uint16))
    return tree


HOW: dict[str, Any] = {"axes": "LP", "mri_axes": "LP", "mri_pixel": 0.9375, "pixel": 0.33}


def test_the_male_becomes_a_dataset(male: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(sections, "warn", said.append)
    lines = import_body("visible-human", male, HOW, tmp_path / "out")
    assert lines[-1] == "Visible Human male: courtesy of the U.S. National Library of Medicine"
    assert len(said) == 1
    assert "2 of 41 sections are lost (1010, 1030)" in said[0]
    (case,) = find_cases(tmp_path / "out")
    assert (case.name, sorted(case.images)) == ("visible-male", ["T2w", "cryo"])
    cryo, mask = read_volume(case.images["cryo"]), read_volume(case.mask, label=True)
    assert cryo.data.shape == (3, 16, 12, 41)
    assert cryo.grid.orientation == "LPI"
    np.testing.assert_allclose(cryo.grid.spacing, (0.99, 0.99, 1.0), rtol=1e-5)
    for number in (1001, 1023, 1041):
        middle = cryo.data[:, 3, 6, number - 1001]
        np.testing.assert_array_equal(middle, np.array(MUSCLE) - number % 100)
        np.testing.assert_allclose((cryo.affine @ [0, 0, number - 1001, 1])[2], -number, atol=1e-4)
    # Gelatine outside is black, that in the airway stays; no mask where a section is a copy or the MRI ends.
    assert cryo.data[:, 0].max() == cryo.data[:, :, 0].max() == 0
    np.testing.assert_array_equal(cryo.data[:, 6, 5, 5], AIRWAY)
    counts = mask.data[0].any(axis=(0, 1))
    assert sorted(np.flatnonzero(~counts) + 1001) == [1010, 1030, 1041]
    mri = read_volume(case.images["T2w"])
    assert mri.grid.spacing == pytest.approx((0.9375, 0.9375, 4.0))
    # The slice with the number 1018 lies where the section 1018 lies, and the middles of both on one line.
    np.testing.assert_allclose((mri.affine @ [8.5, 7.5, 4, 1])[:3], [0, 0, -1018], atol=1e-4)
    assert mri.data[0, 9, 8, 4] == 518
    record = json.loads((tmp_path / "out" / "body.json").read_text())
    assert record["lost"] == {"cryo": [1010.0, 1030.0], "T2w": []}
    assert (record["settings"]["shrink"], record["settings"]["pixel"]) == (3, 0.33)


def test_from_the_tree_to_slabs_on_one_grid(male: Path, tmp_path: Path) -> None:
    import_body("visible-human", male, HOW, tmp_path / "out")
    settings = PrepareSettings(reference="cryo", spacing=1.0, slabs=3, slab_gap=4.0)
    dataset = prepare(tmp_path / "out", tmp_path / "prepared", settings)
    assert len(dataset.names) == 3
    slab = dataset.case("visible-male_slab-2")
    assert set(slab.modalities) == {"cryo", "T2w"}
    assert slab.values("cryo").dtype == np.uint8


def test_the_photographs_of_the_nlm_need_no_pixel(tmp_path: Path) -> None:
    whole = np.full((1216, 2048, 3), MUSCLE, np.uint8)
    for number in (1001, 1002):
        picture(tmp_path / "in" / f"a_vm{number}.png", whole)
    import_body("visible-human", tmp_path / "in", {"axes": "LP", "shrink": 4}, tmp_path / "out")
    grid = read_volume(tmp_path / "out" / "visible-male" / "cryo.nii.gz").grid
    assert (grid.shape, grid.spacing[:2]) == ((512, 304, 2), pytest.approx((1.32, 1.32)))
    for number in (1001, 1002):
        picture(tmp_path / "in" / f"a_vm{number}.png", np.ascontiguousarray(whole[::2, ::2]))
    with pytest.raises(RecipeError, match=r"has 1024 × 608 pixels, .*\(0\.66 for a copy of half the size\)"):
        import_body("visible-human", tmp_path / "in", {"axes": "LP"}, tmp_path / "half")
    (tmp_path / "raw").mkdir()
    np.ascontiguousarray(np.moveaxis(whole[::2, ::2], -1, 0)).tofile(tmp_path / "raw" / "a_vm1001.raw")
    np.ascontiguousarray(np.moveaxis(whole[::2, ::2], -1, 0)).tofile(tmp_path / "raw" / "a_vm1002.raw")
    with pytest.raises(RecipeError, match=r"a_vm1001\.raw: has 1024 × 608 pixels"):
        import_body("visible-human", tmp_path / "raw", {"axes": "LP", "raw_size": [1024, 608]}, tmp_path / "none")


def counted(folder: Path, name: str = "visible-male") -> list[int]:
    """The numbers of the sections, from 1001 on, that the mask has."""
    mask = read_volume(folder / name / "mask.nii.gz", label=True)
    return [int(z) + 1001 for z in np.flatnonzero(mask.data[0].any(axis=(0, 1)))]


def test_a_section_without_its_mri_is_not_in_the_mask(
    male: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MRI each 4 mm from 1002 to 1038: without 1018, the sections 1017 to 1019 lie at no measured slice."""
    said: list[str] = []
    monkeypatch.setattr(sections, "warn", said.append)
    monkeypatch.setattr(visible_human, "warn", said.append)
    mri = male / "radiological" / "mri"
    (mri / "mvm1018t.png").unlink()
    import_body("visible-human", male, HOW, tmp_path / "lost")
    gone = {1010, 1030, 1017, 1018, 1019, 1041}
    assert counted(tmp_path / "lost") == sorted(set(range(1001, 1042)) - gone)
    record = json.loads((tmp_path / "lost" / "body.json").read_text())
    assert record["lost"] == {"cryo": [1010.0, 1030.0], "T2w": [1018.0]}
    assert any(
        "1 of 10 T2w slices are lost (1018); copies of neighbours stand in, outside the mask" in s for s in said
    )
    (one,) = [s for s in said if "leave the mask" in s]
    assert "4 of 41 sections leave the mask because the MRI does not reach them (T2w is missing at 4)" in one
    assert "take a weighting's files away" in one
    # Another weighting that covers little takes the rest with it; its absence gives them back.
    for number in (1010, 1014):
        picture(mri / f"mvm{number}p.png", np.full((16, 18), 7, np.uint16))
    import_body("visible-human", male, HOW, tmp_path / "both")
    assert counted(tmp_path / "both") == [n for n in range(1008, 1017) if n != 1010]
    for file in mri.glob("*t.png"):
        file.unlink()
    for number in (1010, 1014):
        (mri / f"mvm{number}p.png").rename(mri / f"mvm{number + 47}p.png")
    with pytest.raises(InputError, match="no section has a slice of PDw at its place"):
        import_body("visible-human", male, HOW, tmp_path / "none")


def test_mri_below_the_head_is_not_axial(tmp_path: Path) -> None:
    for number in range(1370, 1381):
        picture(tmp_path / "in" / "head" / f"a_vm{number}.png", photograph(number))
    for number in (1370, 1374, 1378, 1382):
        picture(tmp_path / "in" / "mri" / f"mvm{number}1.png", np.full((16, 18), 7, np.uint16))
    words = r"mvm13701\.png: the NLM's MRI is axial in head and neck and coronal below, .* go down to 1380; "
    with pytest.raises(RecipeError, match=words):
        import_body("visible-human", tmp_path / "in", HOW, tmp_path / "out")
    import_body("visible-human", tmp_path / "in", {**HOW, "mri_axial": True}, tmp_path / "out")
    for number in (1378, 1379, 1380):
        (tmp_path / "in" / "head" / f"a_vm{number}.png").unlink()
    import_body("visible-human", tmp_path / "in", HOW, tmp_path / "head")
    assert read_volume(tmp_path / "head" / "visible-male" / "T1w.nii.gz").data.shape[-1] == 4


def test_raw_files_are_the_same_sections(male: Path, tmp_path: Path) -> None:
    for order in ("planes", "pixels"):
        for number in range(1001, 1006):
            values = photograph(number)
            file = tmp_path / order / "fullcolor" / "head" / f"a_vm{number}.raw"
            file.parent.mkdir(parents=True, exist_ok=True)
            (np.moveaxis(values, -1, 0) if order == "planes" else values).tofile(file)
        how = {"axes": "LP", "pixel": 0.33, "raw_size": [WIDTH, HEIGHT], "raw_order": order}
        import_body("visible-human", tmp_path / order, how, tmp_path / f"{order}-out")
    import_body("visible-human", male, {**HOW, "regions": ["head"]}, tmp_path / "png")
    whole = read_volume(tmp_path / "png" / "visible-male" / "cryo.nii.gz").data
    for order in ("planes", "pixels"):
        made = read_volume(tmp_path / f"{order}-out" / "visible-male" / "cryo.nii.gz")
        np.testing.assert_array_equal(made.data, whole[..., :5])
    (tmp_path / "planes" / "fullcolor" / "head" / "a_vm1003.raw").write_bytes(b"12")
    with pytest.raises(
        InputError, match=r"a_vm1003\.raw: holds 2 bytes where 48 × 36 pixels of three colours are 5184"
    ):
        import_body("visible-human", tmp_path / "planes", how, tmp_path / "cut")


def test_the_female_has_three_sections_a_mm(tmp_path: Path) -> None:
    for number, third in ((n, t) for n in range(1001, 1006) for t in "abc"):
        picture(tmp_path / "in" / "head" / f"avf{number}{third}.png", photograph(number))
    import_body("visible-human", tmp_path / "in", {"axes": "RA", "pixel": 0.33, "shrink": 1}, tmp_path / "out")
    volume = read_volume(tmp_path / "out" / "visible-female" / "cryo.nii.gz")
    assert volume.data.shape == (3, WIDTH, HEIGHT, 15)
    assert volume.grid.spacing == pytest.approx((0.33, 0.33, 1 / 3), rel=1e-3)
    assert volume.grid.orientation == "RAI"
    import_body("visible-human", tmp_path / "in", {"axes": "RA", "pixel": 0.33, "every": 3}, tmp_path / "mm")
    assert read_volume(tmp_path / "mm" / "visible-female" / "cryo.nii.gz").grid.spacing[2] == pytest.approx(1)


def test_a_lost_section_is_a_gap_for_every_third_one_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a, b and c of 20 mm, 7b is lost, which the a's of every mm need not know; then 9a, which they need."""
    said: list[str] = []
    monkeypatch.setattr(sections, "warn", said.append)
    for number, third in ((n, t) for n in range(1001, 1021) for t in "abc"):
        picture(tmp_path / "in" / "head" / f"avf{number}{third}.png", photograph(number + "abc".index(third) * 30))
    for lost, places in (("avf1007b.png", []), ("avf1009a.png", [1009.0])):
        (tmp_path / "in" / "head" / lost).unlink()
        how = {"axes": "LP", "pixel": 0.33, "every": 3}
        import_body("visible-human", tmp_path / "in", how, tmp_path / "out", force=True)
        cryo = read_volume(tmp_path / "out" / "visible-female" / "cryo.nii.gz").data
        red = [MUSCLE[0] - number % 100 for number in range(1001, 1021)]
        there = [n - 1001 for n in range(1001, 1021) if n not in places]
        np.testing.assert_array_equal(cryo[0, 3, 6, there], np.array(red)[there])
        assert json.loads((tmp_path / "out" / "body.json").read_text())["lost"] == {"cryo": places}
    assert len(said) == 1
    with pytest.raises(InputError, match="every = 90 leaves 1; give a smaller one"):
        import_body("visible-human", tmp_path / "in", {"axes": "LP", "every": 90}, tmp_path / "none")


def test_weightings_of_the_mri_and_two_slices_at_one_number(male: Path, tmp_path: Path) -> None:
    mri = male / "radiological" / "mri"
    for suffix in "1p":
        for number in (1010, 1014):
            picture(mri / f"mvm{number}{suffix}.png", np.full((16, 18), 7, np.uint16))
    import_body("visible-human", male, HOW, tmp_path / "out")
    (case,) = find_cases(tmp_path / "out")
    shapes = {name: read_volume(file).data.shape[-1] for name, file in case.images.items()}
    assert shapes == {"cryo": 41, "T1w": 2, "PDw": 2, "T2w": 10}
    picture(mri / "mvm10062.png", np.full((16, 18), 7, np.uint16))
    words = r"mvm1006t\.png: .*mvm10062\.png is the T2w slice with the number 1006, too; keep one"
    with pytest.raises(InputError, match=words):
        import_body("visible-human", male, HOW, tmp_path / "again")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({}, r"a_vm1001\.png: does not say which way it looks; open it and give axes=LP"),
        ({"axes": "LP"}, r"mvm1002t\.png: does not say which way it looks; open it and give mri_axes=LP"),
        ({"axes": "LP", "mri_axes": "LP"}, r"mvm1002t\.png: does not say its pixels; give mri_pixel=MM"),
        ({**HOW, "pixel": 0.0}, r"a_vm1001\.png: has 48 × 36 pixels, .* 2048 × 1216 of 0\.33 mm; give pixel=MM"),
        ({**HOW, "pixel": -1.0}, "give mm above 0"),
        (
            {"axes": "LS", "mri_axes": "LP", "mri_pixel": 1.0, "pixel": 0.33},
            "orientation = 'LSI' is not one letter of each",
        ),
        ({"axes": "LP", "regions": ["hed"]}, "'hed' is none of head, .*did you mean 'head'"),
        ({"axs": "LP"}, "axs"),
        ({"axes": "LP", "shrink": 0}, "numbers from 1"),
    ],
)
def test_what_no_file_says_has_to_be_said(how: dict[str, Any], words: str, male: Path, tmp_path: Path) -> None:
    with pytest.raises((RecipeError, InputError), match=words):
        import_body("visible-human", male, how, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_wrong_trees_of_the_visible_human(male: Path, tmp_path: Path) -> None:
    def refused(words: str, tree: Path = male, **how: Any) -> None:
        with pytest.raises(InputError, match=words):
            import_body("visible-human", tree, {**HOW, **how}, tmp_path / "out")

    refused("there is no such folder", tmp_path / "nowhere")
    refused(r"no section called a_vm1001\.png .* lies below legs; see regions", regions=["legs"])
    for number in range(1050, 1056):
        picture(male / "legs" / f"a_vm{number}.png", photograph(number))
    refused(r"of 55 sections from 1001 to 1055, 10 are not there \(1010, 1030, 1042, 1043, 1044 …\)")
    picture(male / "legs" / "avf1003a.png", photograph(1))
    refused("holds the male and the female")
    picture(male / "head" / "a_vm1004.png", photograph(4)[:30])
    refused(r"a_vm1004\.png: is 16×10 uint8 in 3 channels and a_vm1001\.png is 16×12", regions=["head"])
    packed = tmp_path / "packed" / "a_vm1001.raw.Z"
    packed.parent.mkdir()
    packed.write_bytes(b"")
    refused("is packed; unpack such files first: gunzip -r", packed.parent)


def test_what_is_there_is_not_replaced(male: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(Refused, match="is not empty, or choose another --out"):
        import_body("visible-human", male, HOW, out, force=True)
    (out / "mine.txt").unlink()
    import_body("visible-human", male, {**HOW, "regions": ["head"]}, out)
    with pytest.raises(Refused, match="holds another body; add --force"):
        import_body("visible-human", male, HOW, out)
    import_body("visible-human", male, HOW, out, force=True)
    assert read_volume(out / "visible-male" / "cryo.nii.gz").data.shape[-1] == 41


@pytest.fixture
def korean(tmp_path: Path) -> Path:
    tree = tmp_path / "vkh"
    for number in range(8, 14):
        name = f"sec_{number}.png"
        cryo = photograph(number)
        picture(tree / "cryo" / name, cryo)
        picture(tree / "mri" / name, (cryo.mean(axis=-1) + number).astype(np.uint8))
        picture(tree / "seg" / name, np.where(cryo[..., 0] > cryo[..., 2], 14, 0).astype(np.uint16))
    (tree / "stack.json").write_text(json.dumps({"spacing": [0.5, 0.5, 1.0], "orientation": "LPI"}))
    (tree / "labels.json").write_text(json.dumps({"0": "background", "14": "muscle", "15": "bone"}))
    return tree


def test_the_korean_body_becomes_a_dataset(korean: Path, tmp_path: Path) -> None:
    assert import_body("visible-korean", korean, {"mri": "T2w"}, tmp_path / "out")[-1].startswith("Visible Korean")
    (case,) = find_cases(tmp_path / "out")
    assert sorted(case.images) == ["T2w", "cryo"]
    cryo, mri = (read_volume(case.images[name]) for name in ("cryo", "T2w"))
    assert cryo.grid.same_as(mri.grid)
    assert (cryo.grid.orientation, cryo.data.shape) == ("LPI", (3, WIDTH, HEIGHT, 6))
    np.testing.assert_array_equal(cryo.data[:, 12, 25, 2], np.array(MUSCLE) - 10)
    assert mri.data[0, 12, 25, 2] == int(np.mean(np.array(MUSCLE) - 10)) + 10
    labels = read_volume(case.labels, label=True)
    assert set(np.unique(labels.data)) == {0, 14}
    assert json.loads((tmp_path / "out" / "body.json").read_text())["labels"] == {
        "0": "background",
        "14": "muscle",
    }


def test_lost_slices_of_the_korean_body_are_recorded(korean: Path, tmp_path: Path) -> None:
    for number in range(14, 20):
        for name in ("cryo", "mri", "seg"):
            (korean / name / f"sec_{number}.png").write_bytes((korean / name / "sec_13.png").read_bytes())
    for name in ("cryo", "mri", "seg"):
        (korean / name / "sec_11.png").unlink()
    head = {"name": "head", "credit": "Courtesy of somebody else"}
    assert import_body("visible-korean", korean, head, tmp_path / "out")[-1] == head["credit"]
    assert json.loads((tmp_path / "out" / "body.json").read_text())["credit"] == head["credit"]
    lost = json.loads((tmp_path / "out" / "body.json").read_text())["lost"]
    assert lost == {name: [11.0] for name in ("T1w", "cryo", "labels")}
    mask = read_volume(tmp_path / "out" / "head" / "mask.nii.gz", label=True).data[0]
    assert np.flatnonzero(~mask.any(axis=(0, 1))).tolist() == [3]


def test_wrong_trees_of_the_korean_body(korean: Path, tmp_path: Path) -> None:
    def refused(words: str) -> None:
        with pytest.raises(InputError, match=words):
            import_body("visible-korean", korean, {}, tmp_path / "out")

    (korean / "labels.json").write_text(json.dumps({"0": "background"}))
    refused(r"seg: holds the codes 14, which labels\.json does not name")
    codes = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(korean / "seg" / "sec_9.png")))
    for most, words in (
        (40000, "holds the code 40000, and codes go up to 32767"),
        (32767, "codes 14, 32767, which"),
    ):
        picture(korean / "seg" / "sec_9.png", np.where(codes == 14, np.uint16(most), codes))
        refused(words)
    picture(korean / "seg" / "sec_9.png", codes)
    for name in ("mri", "cryo", "seg"):
        (korean / name / "again_9.png").write_bytes((korean / name / "sec_9.png").read_bytes())
    refused(r"mri/sec_9\.png: .*mri/again_9\.png is the slice with the number 9, too; keep one")
    for name in ("mri", "cryo", "seg"):
        (korean / name / "again_9.png").unlink()
    (korean / "labels.json").unlink()
    grey = photograph(9).mean(axis=-1).astype(np.uint8)
    picture(korean / "mri" / "sec_9.png", grey[:20])
    refused(r"sec_9\.png: is 48×20 uint8")
    (korean / "mri" / "sec_9.png").rename(korean / "mri" / "sec_90.png")
    refused(r"mri/sec_90\.png: cryo/ has no slice of that name \(1 such in mri/\)")
    (korean / "mri" / "sec_90.png").unlink()
    refused(r"cryo/sec_9\.png: mri/ has no slice of that name")
    picture(korean / "mri" / "sec_9.png", grey)
    picture(korean / "mri" / "overview.png", grey)
    refused(r"overview\.png: no number in its name says which slice it is")
    (korean / "mri" / "overview.png").unlink()
    (korean / "stack.json").unlink()
    refused(r"does not say how large its voxels are .* into .*vkh/stack\.json")
    for file in (korean / "mri").iterdir():
        file.unlink()
    refused("mri: holds no pictures")


def test_body_and_gelatine_are_told_apart() -> None:
    section = np.moveaxis(photograph(1), -1, 0).swapaxes(1, 2)
    found = body(section)
    x, y = np.mgrid[:WIDTH, :HEIGHT]
    ellipse = ((x - 20) / 15) ** 2 + ((y - 18) / 12) ** 2 < 1
    assert (found & ~ellipse).sum() == 0
    assert found.sum() >= 0.97 * ellipse.sum()
    assert found[19, 18]
    assert not body(np.zeros((3, 9, 9), np.uint8)).any()


def test_shrinking_is_a_mean() -> None:
    values = np.random.default_rng(0).integers(0, 256, (3, 10, 7)).astype(np.uint8)
    small = shrunk(values, 3)
    assert small.shape == (3, 3, 2)
    assert small[1, 2, 1] == round(float(values[1, 6:9, 3:6].mean()))
    assert shrunk(values, 1) is values


def test_the_command(male: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "import",
        "visible-human",
        str(male),
        "axes=LP",
        "mri_axes=LP",
        "mri_pixel=0.9375",
        "pixel=0.33",
        "-q",
    ]
    assert cli.run([*words, "--out", str(tmp_path / "out")]) == 0
    assert "cryo: 16×12×41 voxels of 0.99×0.99×1 mm, LPI" in capsys.readouterr().out
    assert cli.run([*words, "--out", str(tmp_path / "out")]) == 5
    assert "add --force" in capsys.readouterr().err
