"""An interrupt of a command that works in several processes strikes where no lock is held, and ends it."""

import signal
import time

import pytest

from transmodal.data.workers import mapper


@pytest.fixture(autouse=True)
def heard():
    """A shell tells commands in the background to ignore Ctrl-C, and what is ignored stays so."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def slowly(number: int) -> int:
    time.sleep(0.2)
    return number


def test_results_come_in_order_and_handlers_are_put_back():
    before = signal.getsignal(signal.SIGINT)
    with mapper(2) as run:
        assert list(run(slowly, range(4))) == [0, 1, 2, 3]
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


def interrupted_at_the_second(seen):
    with mapper(2) as run:
        for number in run(slowly, range(50)):
            seen.append(number)
            if number == 1:
                signal.raise_signal(signal.SIGINT)
                # What is done with a result is not torn apart.
                seen.append("whole")


def interrupted_at_the_end():
    with mapper(2) as run:
        assert list(run(slowly, range(2))) == [0, 1]
        signal.raise_signal(signal.SIGINT)


def test_an_interrupt_waits_until_no_lock_is_held():
    started, seen = time.monotonic(), []
    with pytest.raises(KeyboardInterrupt):
        interrupted_at_the_second(seen)
    assert seen == [0, 1, "whole"]
    assert time.monotonic() - started < 8


def test_an_interrupt_after_the_last_result_counts_too():
    with pytest.raises(KeyboardInterrupt):
        interrupted_at_the_end()
