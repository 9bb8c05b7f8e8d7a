"""Ends with a line of what was gone through, which benchmarks/hostile.py and benchmarks/kills.py are run for."""

import pytest
from tally import TALLY


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TALLY:
        terminalreporter.write_line("; ".join(f"{name}: {count}" for name, count in TALLY.items()))
