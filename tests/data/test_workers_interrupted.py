"""An interrupt of a command that works in several processes strikes where no lock is held, and ends it."""

import signal
import threading
import time

import pytest

from transmodal.data.workers import mapper

SCHEDULERS = pytest.mark.parametrize("scheduler", ["", "local"], ids=["processes", "dask"])


@pytest.fixture(autouse=True)
def heard():
    """A shell tells commands in the background to ignore Ctrl-C, and what is ignored stays so."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def slowly(number: int) -> int:
    time.sleep(0.2)
    return number


def very_slowly(number: int) -> int:
    time.sleep(2.0)
    return number


@SCHEDULERS
def test_results_come_in_order_and_handlers_are_put_back(scheduler):
    before = signal.getsignal(signal.SIGINT)
    with mapper(2, scheduler) as run:
        assert list(run(slowly, range(4))) == [0, 1, 2, 3]
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


def interrupted_at_the_second(seen, scheduler):
    with mapper(2, scheduler) as run:
        for number in run(slowly, range(50)):
            seen.append(number)
            if number == 1:
                signal.raise_signal(signal.SIGINT)
                # What is done with a result is not torn apart.
                seen.append("whole")


def interrupted_at_the_end(scheduler):
    with mapper(2, scheduler) as run:
        assert list(run(slowly, range(2))) == [0, 1]
        signal.raise_signal(signal.SIGINT)


def interrupted_in_the_middle_of_a_job(scheduler):
    with mapper(2, scheduler) as run:
        threading.Timer(2.0, signal.raise_signal, [signal.SIGINT]).start()
        list(run(very_slowly, range(40)))


@SCHEDULERS
def test_an_interrupt_waits_until_no_lock_is_held(scheduler):
    seen = []
    with pytest.raises(KeyboardInterrupt):
        interrupted_at_the_second(seen, scheduler)
    assert seen == [0, 1, "whole"]


@SCHEDULERS
def test_an_interrupt_after_the_last_result_counts_too(scheduler):
    with pytest.raises(KeyboardInterrupt):
        interrupted_at_the_end(scheduler)


@SCHEDULERS
def test_an_interrupt_does_not_wait_for_all_jobs(scheduler):
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        interrupted_in_the_middle_of_a_job(scheduler)
    assert time.monotonic() - started < 30, "all jobs take forty seconds"
