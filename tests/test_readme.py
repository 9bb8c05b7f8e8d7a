"""What the README promises exists: every command parses, every file is there, every method is named."""

import re
import shlex
from pathlib import Path

import pytest

from transmodal import cli, commands, registry

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"^    transmodal (.+?)(?:\s+#.*)?$", README, flags=re.MULTILINE)
TARGETS = re.findall(r"`?make ([a-z-]+)", README)
LINKS = [link for link in re.findall(r"\]\(([^)#]+)", README) if not link.startswith("http")]


def test_there_is_something_to_check() -> None:
    assert len(COMMANDS) >= 10
    assert {"demo", "test", "setup"} <= set(TARGETS)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_parses_and_its_recipe_exists(command: str) -> None:
    parsed = cli.parse(shlex.split(command))
    assert type(parsed).__name__.lower() == command.split()[0]
    if isinstance(parsed, commands.Train):
        written = [cli.parse(shlex.split(words)) for words in COMMANDS if words.startswith("plan ")]
        planned = {one.out for one in written if isinstance(one, commands.Plan)}
        assert parsed.recipe in planned or (ROOT / parsed.recipe).is_file()


@pytest.mark.parametrize("target", sorted(set(TARGETS)))
def test_a_make_target_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize("link", sorted(set(LINKS)))
def test_a_link_leads_somewhere(link: str) -> None:
    assert (ROOT / link).exists()


def test_every_method_is_in_the_table() -> None:
    for name in registry.names():
        assert f"`{name}`" in README


def test_the_version_is_written_once_for_each_reader() -> None:
    from transmodal import __version__

    assert f'version = "{__version__}"' in (ROOT / "pyproject.toml").read_text()
    assert f"version: {__version__}" in (ROOT / "CITATION.cff").read_text()
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()
