"""Commands that run once, each at an anchor of its own, in as few round trips as there can be."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial

from circuit.client import Anchor
from circuit.display import Hidden
from circuit.elements.element import call, expect
from circuit.elements.proc import Cmd, CommunicateTimedOut, Proc
from circuit.elements.streams import MAX_COLLECTED_BYTES
from circuit.errors import CircuitError, TimedOut
from circuit.net.futures import time_limit
from circuit.net.held import Handle
from circuit.net.runtime import named


class Job:
    """A command, from the making of its anchor to the ends of its outputs.

    That takes 4 round trips. It takes 3 where jobs follow one another on a host: then one asks for the anchor of the
    next, which disappears when there is none for a moment.
    """

    def __init__(
        self,
        host: Anchor,
        prefix: str,
        command: Callable[[str], Cmd],
        stdin: bytes | Hidden = b"",
        timeout: float | None = None,
        limit: int = MAX_COLLECTED_BYTES,
    ) -> None:
        """Describe it; nothing is sent.

        :param prefix: what its anchor's name begins with; a dash and 24 random hexadecimal digits follow.
        :param command: makes the command from that name; it must not wait for anything.
        :param stdin: what the command gets as its input, which is closed then.
        :param timeout: seconds from its start on, for which the client's own limit holds; that, too, where None.
        :param limit: how many bytes of each output are collected.
        """
        self.proc: Proc | None = None
        """The process; None while it was not started."""
        self.began = time.monotonic()
        """When it began, by ``time.monotonic()``; before that, when it was described."""
        self._host = host
        self._runtime = host._runtime
        self._prefix = prefix
        self._command = command
        self._stdin = stdin
        self._timeout = self._runtime.timeout if timeout is None else timeout
        self._limit = limit
        self._handles: list[Handle] = []
        """Of its anchor and process."""

    def run(self) -> tuple[bytes, bytes]:
        """Start the command, send its input, and return both outputs when they have ended.

        :raises ExecFailed: the command could not be started.
        :raises TimedOut: there was no answer to its start in time; it may have been started.
        :raises CommunicateTimedOut: an output did not end in time. To wait on, see :meth:`Proc.communicate`.
        :raises TooMuchOutput: an output is longer than the limit. The streams are closed; the process may go on.
        """
        try:
            # Its own limits are inside.
            self._runtime.run(self._run(), self._what, math.inf)
        except TimedOut as error:
            raise self._with_outputs(error) from None
        return self.outputs()

    def outputs(self) -> tuple[bytes, bytes]:
        """Return both outputs, as far as they were collected."""
        assert self.proc is not None
        return bytes(self.proc.stdout.collected), bytes(self.proc.stderr.collected)

    def release(self) -> None:
        """Let go of the process and its anchor, and of its streams if it still goes on."""
        if self.proc is not None:
            self.proc.give_up()
        for handle in self._handles:
            handle.release_later()

    @property
    def _what(self) -> str:
        return f"run at {self._host.path}"

    def _with_outputs(self, error: TimedOut) -> TimedOut:
        """Return what to raise where the time was over: before the command had started, or after."""
        return error if self.proc is None else CommunicateTimedOut(str(error), *self.outputs())

    # on the loop

    async def attempt(self) -> Exception | None:
        """Do the same as :meth:`run`, but return what that raises."""
        try:
            await self._run()
        except TimedOut as error:
            return self._with_outputs(named(error, self._what))
        except CircuitError as error:
            return named(error, self._what)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not end the other jobs
            return error
        return None

    async def _run(self) -> None:
        self.began = time.monotonic()
        with time_limit(self._runtime.timeout):
            self.proc = await self._start()
        ask_for_next = partial(self._runtime.ahead.ask, self._host._handle.pointer, self._prefix)
        with time_limit(self._timeout):
            await self.proc.exchange(self._stdin, self._limit, ask_for_next)

    async def _start(self) -> Proc:
        host = self._host
        name, handle = self._runtime.ahead.take(host._handle.pointer, self._prefix)
        if handle is None:
            (found,) = await call(self._runtime, host._handle, host.path, "Walk", [name])
            handle = expect(found, Handle, f"walk from {host.path}")
        anchor = Anchor(self._runtime, (*host._names, name), handle)
        proc = await anchor._make_proc(self._command(name))
        self._handles = [handle, proc._handle]
        return proc


def run_jobs(jobs: Sequence[Job], ended: Callable[[Job, Exception | None], Future[None] | None]) -> None:
    """Run jobs on many hosts of one client concurrently, without a thread for each; return when all have ended.

    So many run at a time as the client may have connections for. Each has its own time limit, and its failure concerns
    no other.

    :param ended: gets each job when it ends, with None or the error that :meth:`Job.run` would raise, and releases it.
        It runs on the client's event loop, so it must not wait, nor raise anything. Where it returns a future, another
        thread releases the job, and the future is done afterwards.
    :raises Closed: the client was closed; then ``ended`` has got only some of the jobs.
    """
    if not jobs:
        return
    # ValueError where the hosts are of several clients, each of which has its own loop.
    (runtime,) = {job._runtime for job in jobs}
    left = iter(jobs)
    has_room = len(jobs) <= runtime.most_hosts

    async def run_some() -> None:
        for job in left:
            if (released := ended(job, await job.attempt())) is not None:
                await asyncio.wrap_future(released)
            if not has_room:
                # A look at its command, which took its time, may not be answered yet.
                await runtime.until_idle(job._host._handle.pointer.address)

    async def run_all() -> None:
        await asyncio.gather(*(run_some() for _ in range(min(runtime.most_hosts, len(jobs)))))

    runtime.run(run_all(), f"run on {len(jobs)} hosts", math.inf)
