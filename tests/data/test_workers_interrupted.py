"""An interrupt of a command that works in several processes strikes where no lock is held, and ends it."""

import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial

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


def noted(place, number: int) -> int:
    time.sleep(0.1)
    (place / str(number)).touch()
    return number


def for_ever(place, number: int) -> int:
    (place / str(number)).touch()
    time.sleep(1000)
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


def interrupted_with_jobs_waiting(place):
    with mapper(2) as run:
        for number in run(partial(noted, place), range(40)):
            if number == 1:
                signal.raise_signal(signal.SIGINT)


def test_jobs_that_nobody_began_are_dropped_and_those_in_work_are_waited_for(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        interrupted_with_jobs_waiting(tmp_path)
    done = len(list(tmp_path.iterdir()))
    assert 2 <= done < 20
    time.sleep(0.5)
    assert len(list(tmp_path.iterdir())) == done


IN_A_TERMINAL = """
import signal, sys
from functools import partial
from pathlib import Path
from test_workers_interrupted import for_ever
from transmodal import progress
from transmodal.data.workers import mapper

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    progress.use("human")
    try:
        with mapper(2, sys.argv[2]) as run:
            list(run(partial(for_ever, Path(sys.argv[1])), range(40)))
    except KeyboardInterrupt:
        print("interrupted")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no process groups")
@SCHEDULERS
def test_a_second_ctrl_c_in_a_terminal_ends_the_workers_at_once(tmp_path, scheduler):
    script, place = tmp_path / "script.py", tmp_path / "place"
    script.write_text(IN_A_TERMINAL)
    place.mkdir()
    ways = {**os.environ, "PYTHONPATH": os.path.dirname(__file__)}
    words = [sys.executable, str(script), str(place), scheduler]
    running = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ways, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while len(list(place.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGINT)
    assert "Ctrl-C again" in running.stderr.readline()
    os.killpg(running.pid, signal.SIGINT)
    told, said = running.communicate(timeout=60)
    assert told == "interrupted\n"
    assert "Traceback" not in said
    assert len(list(place.iterdir())) <= 3
