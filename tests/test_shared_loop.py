"""circuit.net.shared_loop: who runs a client's event loop, and what signals and other loops do to those who do."""

from __future__ import annotations

import _thread
import asyncio
import contextlib
import gc
import math
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import TYPE_CHECKING

import pytest

from circuit.cli.attached import next_event
from circuit.errors import Closed
from circuit.net.shared_loop import LimitReached, SharedLoop

if TYPE_CHECKING:
    from tests.conftest import Eventually

LIMIT_S = 10.0


@pytest.fixture
def shared() -> Iterator[SharedLoop]:
    shared = SharedLoop("under test")
    yield shared
    shared.close(asyncio.sleep(0), LIMIT_S)
    assert not shared.thread.is_alive()
    assert shared.loop.is_closed()


async def who() -> int:
    """The thread that runs the loop; not at its first turn."""
    await asyncio.sleep(0.001)
    return threading.get_ident()


def test_a_caller_runs_the_loop_itself(shared: SharedLoop) -> None:
    shared.run(who(), LIMIT_S)
    assert [shared.run(who(), LIMIT_S) for _ in range(20)] == [threading.get_ident()] * 20


def test_the_background_runs_the_loop_while_nobody_calls(shared: SharedLoop) -> None:
    for _ in range(3):
        served = threading.Event()
        shared.run(who(), LIMIT_S)
        shared.call_soon(served.set)
        assert served.wait(1.0)


def test_a_long_call_does_not_keep_the_background_away_afterwards(shared: SharedLoop) -> None:
    shared.run(asyncio.sleep(0.2), LIMIT_S)
    drivers: queue.SimpleQueue[int] = queue.SimpleQueue()
    shared.call_soon(lambda: drivers.put(threading.get_ident()))
    assert drivers.get(timeout=1.0) == shared.thread.ident


def test_when_a_caller_leaves_another_runs_the_loop(shared: SharedLoop, eventually: Eventually) -> None:
    leave, stay = asyncio.Event(), asyncio.Event()

    async def wait_for(event: asyncio.Event) -> int:
        await event.wait()
        return threading.get_ident()

    idents: list[int] = []

    def call(event: asyncio.Event) -> int:
        idents.append(threading.get_ident())
        return shared.run(wait_for(event), LIMIT_S)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(call, leave)
        eventually(lambda: shared._driver not in (None, shared.thread))
        second = pool.submit(call, stay)
        # The background runs the loop where two come at once.
        eventually(lambda: len(shared._waiting) == 1)
        shared.call_soon(leave.set)
        first.result(LIMIT_S)
        shared.call_soon(stay.set)
        assert second.result(LIMIT_S) == idents[1]


def test_many_callers_get_their_results(shared: SharedLoop) -> None:
    async def echo(number: int) -> int:
        await asyncio.sleep(number % 3 / 1000)
        return number

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(lambda number: shared.run(echo(number), LIMIT_S), range(2000))) == list(range(2000))


def test_a_caller_that_runs_a_loop_of_its_own_is_served(shared: SharedLoop) -> None:
    async def call() -> int:
        return shared.run(who(), LIMIT_S)

    assert asyncio.run(call()) == shared.thread.ident
    assert shared.run(who(), LIMIT_S) == threading.get_ident()


def test_a_limit_holds_for_whoever_runs_the_loop(shared: SharedLoop) -> None:
    with ThreadPoolExecutor(4) as pool:
        started = time.monotonic()
        ends = [pool.submit(shared.run, asyncio.sleep(60), 0.1 * number) for number in range(1, 5)]
        assert all(isinstance(end.exception(LIMIT_S), LimitReached) for end in ends)
        assert time.monotonic() - started < 1.5


def test_a_closed_loop_takes_no_work() -> None:
    shared = SharedLoop("closed")
    shared.close(asyncio.sleep(0), LIMIT_S)
    shared.close(asyncio.sleep(0), LIMIT_S)
    with pytest.raises(Closed):
        shared.run(who(), LIMIT_S)
    shared.call_soon(lambda: None)


def test_closing_waits_for_callers(shared: SharedLoop, eventually: Eventually) -> None:
    async def end_others() -> None:
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    with ThreadPoolExecutor(3) as pool:
        ends = [pool.submit(shared.run, asyncio.sleep(60), math.inf) for _ in range(3)]
        eventually(lambda: shared.run(how_many(), LIMIT_S) == 4)
        shared.close(end_others(), LIMIT_S)
        for end in ends:
            with pytest.raises(asyncio.CancelledError):
                end.result(LIMIT_S)


async def how_many() -> int:
    return len(asyncio.all_tasks())


# -- signals ----------------------------------------------------------------------------------------------------------


class Interrupted(Exception):
    """What a handler raises."""


@contextlib.contextmanager
def handling(number: int, handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Handle a signal so."""
    before = signal.signal(number, handler)
    try:
        yield
        assert signal.getsignal(number) is handler, "the handler was put back"
    finally:
        signal.signal(number, before)


def interrupt(number: int, frame: FrameType | None) -> None:
    raise Interrupted


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGALRM, signal.SIGUSR1])
def test_a_signal_ends_the_callers_wait_and_nobody_elses(
    shared: SharedLoop, number: int, eventually: Eventually
) -> None:
    with handling(number, interrupt), ThreadPoolExecutor(1) as pool:
        for other_comes_first in (False, True):
            calls = [pool.submit(shared.run, asyncio.sleep(0.5, "done"), LIMIT_S)] if other_comes_first else []
            timer = threading.Timer(0.1, os.kill, (os.getpid(), number))
            timer.start()
            with pytest.raises(Interrupted):
                shared.run(asyncio.sleep(60), LIMIT_S)
            assert [call.result(LIMIT_S) for call in calls] == ["done"] * len(calls)
            # What was interrupted is cancelled.
            eventually(lambda: shared.run(how_many(), LIMIT_S) == 1)


def test_a_handler_that_raises_nothing_ends_no_wait(shared: SharedLoop) -> None:
    handled: list[int] = []
    with handling(signal.SIGUSR1, lambda number, frame: handled.append(number)):
        timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1))
        timer.start()
        assert shared.run(asyncio.sleep(0.3, "done"), LIMIT_S) == "done"
        assert handled == [signal.SIGUSR1]


@pytest.mark.parametrize("drives", [True, False])
def test_a_signal_that_does_not_wake_the_main_thread_is_handled_soon(shared: SharedLoop, drives: bool) -> None:
    """One that comes just before that thread blocks; here, one that no system call is interrupted by."""
    with handling(signal.SIGUSR1, interrupt), ThreadPoolExecutor(1) as pool:
        other = None if drives else pool.submit(shared.run, asyncio.sleep(1.0), LIMIT_S)
        started = time.monotonic()
        threading.Timer(0.1, _thread.interrupt_main, (signal.SIGUSR1,)).start()
        with pytest.raises(Interrupted):
            shared.run(asyncio.sleep(8), LIMIT_S)
        assert time.monotonic() - started < 4
        assert other is None or other.result(LIMIT_S) is None


def test_a_command_s_events_come_while_such_a_signal_does() -> None:
    events: queue.SimpleQueue[int] = queue.SimpleQueue()
    with handling(signal.SIGUSR1, lambda number, frame: events.put(number)):
        threading.Timer(0.1, _thread.interrupt_main, (signal.SIGUSR1,)).start()
        assert next_event(events, 8.0) == signal.SIGUSR1
        with pytest.raises(queue.Empty):
            next_event(events, 0.3)


def test_a_handler_runs_at_once_while_its_thread_waits(shared: SharedLoop) -> None:
    when: list[float] = []
    with handling(signal.SIGUSR1, lambda number, frame: when.append(time.monotonic())):
        started = time.monotonic()
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        shared.run(asyncio.sleep(1.0), LIMIT_S)
        assert when[0] - started < 0.6


# A signal can arrive before the call has begun.
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
def test_signals_at_any_moment_break_nothing(shared: SharedLoop, eventually: Eventually) -> None:
    """Two threads' work goes in small steps, and the main one is interrupted all the time."""
    over = threading.Event()
    main = threading.get_ident()
    lock = asyncio.Lock()
    inside: list[int] = []
    armed: list[bool] = []

    async def work() -> None:
        for _ in range(20):
            async with lock:
                assert inside == []
                inside.append(1)
                try:
                    await asyncio.sleep(0)
                finally:
                    inside.pop()

    def send_signals() -> None:
        while not over.wait(0.0005):
            signal.pthread_kill(main, signal.SIGUSR1)

    def call() -> int:
        calls = 0
        while not over.is_set():
            shared.run(work(), LIMIT_S)
            calls += 1
        return calls

    def interrupt_if_armed(number: int, frame: FrameType | None) -> None:
        if armed:
            armed.clear()
            raise Interrupted

    interrupted = 0
    with handling(signal.SIGUSR1, interrupt_if_armed), ThreadPoolExecutor(2) as pool:
        sender, calls = pool.submit(send_signals), pool.submit(call)
        until = time.monotonic() + 2.0
        while time.monotonic() < until:
            try:
                armed.append(True)
                shared.run(work(), LIMIT_S)
            except Interrupted:
                interrupted += 1
        armed.clear()
        over.set()
        sender.result(LIMIT_S)
        assert calls.result(LIMIT_S) > 10
    assert interrupted > 10
    eventually(lambda: shared.run(how_many(), LIMIT_S) == 1)
    assert inside == []
    # Calls that never began are reported here, and not in another test.
    gc.collect()
