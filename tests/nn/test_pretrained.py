import hashlib
import pickle
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from transmodal.errors import InputError, RecipeError
from transmodal.nn import pretrained


@pytest.fixture
def tensors():
    return {"features.0.weight": torch.randn(4, 3)}


@pytest.fixture
def file(tmp_path, tensors, monkeypatch):
    """A file of tensors as torch writes it, whose digest is known."""
    path = tmp_path / "vgg19-dcbb9e9d.pth"
    torch.save(tensors, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(pretrained.KNOWN, "vgg19", replace(pretrained.KNOWN["vgg19"], sha256=digest[:8]))
    monkeypatch.setenv("TRANSMODAL_CACHE", str(tmp_path / "cache"))
    return path


@pytest.fixture
def server(file, monkeypatch):
    """The file on a web server of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            content = file.read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args):
            """Silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        known = pretrained.KNOWN["vgg19"]
        url = f"http://127.0.0.1:{served.server_port}/{file.name}"
        monkeypatch.setitem(pretrained.KNOWN, "vgg19", replace(known, url=url))
        yield served
        served.shutdown()


def test_the_published_digest_is_the_one_in_the_name():
    known = pretrained.KNOWN["vgg19"]
    assert f"-{known.sha256}." in known.url
    assert len(known.sha256) == 8


def test_reads_torchs_own_files_and_safetensors(file, tmp_path, tensors):
    state, digest = pretrained.read(file, "vgg19")
    assert torch.equal(state["features.0.weight"], tensors["features.0.weight"])
    assert digest == hashlib.sha256(file.read_bytes()).hexdigest()
    save_file(tensors, tmp_path / "mine.safetensors")
    state, _ = pretrained.read(tmp_path / "mine.safetensors", "vgg19")
    assert torch.equal(state["features.0.weight"], tensors["features.0.weight"])


def test_another_digest_is_refused(file):
    with pytest.raises(InputError, match="ffff0000… is expected"):
        pretrained.read(file, "vgg19", "ffff0000")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"vgg19-dcbb9e9d\.pth: its sha256 is .* expected of 'vgg19'"):
        pretrained.read(file, "vgg19")


ran: list[str] = []


class Evil:
    """A pickle that would run code."""

    def __reduce__(self):
        return (ran.append, ("code of a stranger",))


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps({"a": Evil()}, 2),
        b"",
        b"not a file of tensors",
        b"hello world" * 10,
        pickle.dumps([1, 2], 2),
        bytes(range(256)),
        *(bytes([code]) * 40 for code in b"hjJglRrsbtuaeo"),
    ],
)
def test_nothing_but_tensors_is_read_and_no_code_is_run(tmp_path, content):
    path = tmp_path / "vgg_normalised.pth"
    path.write_bytes(content)
    with pytest.raises(InputError, match="download it again"):
        pretrained.read(path, "vgg19-normalised")
    with pytest.raises(InputError, match="download it again"):
        pretrained.read(path.rename(tmp_path / "x.safetensors"), "vgg19-normalised")
    assert ran == []


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\n<!DOCTYPE html><html>Please log in</html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a pointer of Git LFS"),
        (b"", "it is empty"),
        (pickle.dumps({"a": Evil()}, 2), "damaged, or something else"),
    ],
)
def test_the_reason_is_ours_and_never_advice_to_run_code(tmp_path, content, says):
    for name in ("x.pth", "x.safetensors"):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(InputError, match=says) as caught:
            pretrained.read(path, "")
        assert "weights_only" not in str(caught.value)
        assert "\n" not in str(caught.value)


def test_names_of_tensors_are_words(tmp_path, tensors):
    torch.save({1: torch.zeros(1)}, tmp_path / "x.pth")
    with pytest.raises(InputError, match="something else than named tensors"):
        pretrained.read(tmp_path / "x.pth", "")


def test_a_digest_of_weights_without_a_name_is_expected_of_nobody(file):
    with pytest.raises(InputError, match="ffff… is expected; the file"):
        pretrained.read(file, "", "FFFF")


def test_a_missing_file_says_how_to_supply_it(file, tmp_path):
    with pytest.raises(InputError, match=r"cache/weights/vgg19-dcbb9e9d\.pth.*transmodal download vgg19"):
        pretrained.find("vgg19")
    with pytest.raises(InputError, match="elsewhere"):
        pretrained.find("vgg19", str(tmp_path / "elsewhere"))
    assert pretrained.find("vgg19", str(file)) == file
    with pytest.raises(RecipeError, match="did you mean 'vgg19'"):
        pretrained.known("vgg18")


def test_download_fills_the_cache_once(server, file):
    path = pretrained.download("vgg19")
    assert path == pretrained.cache() / file.name == pretrained.find("vgg19")
    assert path.read_bytes() == file.read_bytes()
    server.shutdown()
    assert pretrained.download("vgg19") == path


def test_a_download_of_something_else_is_not_kept(server, file, tmp_path):
    file.write_bytes(b"<html>Please log in</html>")
    with pytest.raises(InputError, match="cannot be downloaded to"):
        pretrained.download("vgg19", tmp_path / "to")
    assert not list((tmp_path / "to").iterdir())


def test_no_connection_is_a_sentence(file, tmp_path, monkeypatch):
    known = pretrained.KNOWN["vgg19"]
    monkeypatch.setitem(pretrained.KNOWN, "vgg19", replace(known, url="http://127.0.0.1:9/vgg19-dcbb9e9d.pth"))
    with pytest.raises(InputError, match="fetch it on another machine and copy it there"):
        pretrained.download("vgg19", tmp_path / "to")


def test_a_method_without_frozen_networks_has_none():
    assert pretrained.frozen_networks(nn.Linear(2, 2)) == []
    assert pretrained.origins(nn.Linear(2, 2)) == []
