"""The house keeps its shape: imports go one way, public names are sealed, start-up is quick."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import transmodal

ROOT = Path(transmodal.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
INNER = [path for path in FILES if path != ROOT / "__init__.py"]

ORDER = [
    "errors", "shapes", "progress", "interrupts", "schema", "data", "nn", "losses", "methods", "registry",
    "metrics", "inference", "evaluation", "training", "machine", "recipe", "reporting", "checks", "catalogue",
    "experiment", "questions", "commands", "cli", "__main__",
]  # fmt: skip
"""Packages and modules from left to right: each imports only from its left."""


def _part(path: Path) -> str:
    first = path.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


def _imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "transmodal":
                names = [f"transmodal.{alias.name}" for alias in node.names]
            else:
                names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("transmodal.")}
    return found - {"__version__"}


@pytest.mark.parametrize("path", INNER, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_from_left_to_right(path: Path) -> None:
    own = _part(path)
    for other in _imported(path):
        assert ORDER.index(other) <= ORDER.index(own), f"{path.relative_to(ROOT)} imports {other} from its right"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_stay_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 350


def test_no_class_of_the_package_inherits_from_another() -> None:
    own = {
        node.name
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    }
    for path in FILES:
        if path.name == "errors.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                bases = {base.id for base in node.bases if isinstance(base, ast.Name)}
                assert not bases & own, f"{path.relative_to(ROOT)}: {node.name} inherits from {bases & own}"


def test_public_names_are_sealed_and_importable() -> None:
    assert transmodal.__all__ == sorted(transmodal.__all__)
    assert set(transmodal.__all__) == {*transmodal._PUBLIC, "__version__"}
    assert dir(transmodal) == transmodal.__all__
    for name in transmodal.__all__:
        value = getattr(transmodal, name)
        assert callable(value) or name == "__version__"


def test_import_and_help_never_import_torch() -> None:
    code = (
        "import sys, transmodal, transmodal.cli, transmodal.registry; transmodal.registry.names(); "
        "assert not {'torch', 'monai', 'transformers', 'matplotlib', 'scipy'} & set(sys.modules), "
        "sorted(set(sys.modules) & {'torch', 'matplotlib', 'scipy'})"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
