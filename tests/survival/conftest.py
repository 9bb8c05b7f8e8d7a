"""How many hostile files were tried, for benchmarks/hostile.py."""

import pytest
from hostility import TRIED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TRIED:
        count = sum(TRIED.values())
        terminalreporter.write_line(f"{count} hostile files: {TRIED['read']} read, {TRIED['refused']} refused")
