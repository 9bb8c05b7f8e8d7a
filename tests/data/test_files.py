import os
from pathlib import Path

import pytest

from transmodal.data.files import (
    bring_back,
    clear_leftovers,
    new_folder,
    part,
    read_json,
    write_bytes,
    write_json,
    write_text,
)
from transmodal.errors import InputError


def test_json_goes_round(tmp_path):
    content = {"name": "Köln", "numbers": [1, 0.1, 1e-300], "none": None}
    write_json(tmp_path / "a" / "b.json", content)
    assert read_json(tmp_path / "a" / "b.json") == content
    assert "Köln" in (tmp_path / "a" / "b.json").read_text(encoding="utf-8")


def test_nan_is_not_json(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"value": float("nan")})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b""])
def test_damaged_json(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError, match="not valid JSON"):
        read_json(tmp_path / "a.json")


def test_missing_json_and_folder(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_json(tmp_path / "a.json")
    with pytest.raises(InputError, match="cannot be read"):
        read_json(tmp_path)


def test_a_failed_write_keeps_the_old_content(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(InputError, match="No space left"):
        write_bytes(path, b"new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_file_where_a_folder_should_be(tmp_path):
    write_text(tmp_path / "file", "")
    with pytest.raises(InputError, match="cannot be written"):
        write_text(tmp_path / "file" / "a.txt", "")
    with pytest.raises(InputError, match="cannot be written"), new_folder(tmp_path / "file" / "folder"):
        pass


def test_new_folder_replaces_or_vanishes(tmp_path):
    target = tmp_path / "model"
    for content in ("one", "two"):
        with new_folder(target) as folder:
            write_text(folder / "a.txt", content)
    assert (target / "a.txt").read_text() == "two"
    with pytest.raises(RuntimeError, match="half way"):
        fill_and_fail(target)
    assert (target / "a.txt").read_text() == "two"
    assert os.listdir(tmp_path) == ["model"]


def fill_and_fail(target):
    with new_folder(target) as folder:
        write_text(folder / "a.txt", "three")
        raise RuntimeError("half way")


NOBODY = 2**22 + 1
"""The number of no process: Linux counts up to 2²²."""


def of_process(path, process, host=None):
    own = part(path).name.split(".")
    own[-2] = str(process)
    own[-3] = host or own[-3]
    return path.with_name(".".join(own))


def test_what_killed_processes_left_is_cleared_and_the_rest_stays(tmp_path):
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    theirs, alive, elsewhere, old = (
        of_process(deep / "x.json", *who)
        for who in ((NOBODY,), (os.getppid(),), (NOBODY, "0" * 8), (NOBODY, "1" * 8))
    )
    for path in (theirs, alive, elsewhere, old, deep / ".mine", deep / ".x.json.part"):
        path.write_text("half")
    os.utime(old, (0, 0))
    of_process(tmp_path / "model", NOBODY).mkdir()
    clear_leftovers(tmp_path)
    assert {p.name for p in deep.iterdir()} == {alive.name, elsewhere.name, ".mine", ".x.json.part"}
    assert os.listdir(tmp_path) == ["a"]


def test_a_folder_that_was_about_to_be_replaced_comes_back(tmp_path):
    for name, also in (("model", False), ("cases", True)):
        (tmp_path / f".{name}.replaced").mkdir()
        (tmp_path / f".{name}.replaced" / "old").write_text("old")
        if also:
            (tmp_path / name).mkdir()
            (tmp_path / name / "new").write_text("new")
    clear_leftovers(tmp_path)
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")) == [
        "cases", "cases/new", "model", "model/old",
    ]  # fmt: skip


def test_a_folder_comes_back_when_it_is_asked_for_unless_its_process_lives(tmp_path):
    old = tmp_path / ".model.replaced"
    old.mkdir()
    (old / "old").write_text("old")
    alive = of_process(tmp_path / "model", os.getppid())
    alive.mkdir()
    bring_back(tmp_path / "model")
    assert old.is_dir()
    os.rename(alive, of_process(tmp_path / "model", NOBODY))
    (tmp_path / "link").symlink_to("model")
    bring_back(tmp_path / "link")
    assert (tmp_path / "link" / "old").read_text() == "old"
    assert not old.exists()
    bring_back(tmp_path / "nothing")
    bring_back(Path())


def test_a_new_folder_takes_the_place_of_what_a_link_leads_to(tmp_path):
    (tmp_path / "there").mkdir()
    link = tmp_path / "link"
    link.symlink_to("there")
    for content in ("one", "two"):
        with new_folder(link) as fresh:
            (fresh / "file").write_text(content)
        assert link.is_symlink()
        assert (tmp_path / "there" / "file").read_text() == content
    assert sorted(os.listdir(tmp_path)) == ["link", "there"]


def test_what_a_kill_took_away_is_not_lost_by_the_next_attempt(tmp_path, monkeypatch):
    """Killed between the renames, and the next attempt, too, before its own folder is in place."""
    (tmp_path / ".model.replaced").mkdir()
    (tmp_path / ".model.replaced" / "old").write_text("old")

    def die(source, to):
        if Path(to).name == "model" and Path(source).name.endswith(".part"):
            raise KeyboardInterrupt
        plain(source, to)

    plain = os.rename
    monkeypatch.setattr("os.rename", die)
    with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / "model") as fresh:
        (fresh / "new").write_text("new")
    bring_back(tmp_path / "model")
    assert (tmp_path / "model" / "old").read_text() == "old"
