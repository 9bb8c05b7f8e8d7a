import os

import pytest

from transmodal.data.files import new_folder, read_json, write_bytes, write_json, write_text
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
