"""Commands that run once, each at an anchor of its own, in as few round trips as there can be."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from circuit.client import Anchor
from circuit.display import Hidden
from circuit.elements.element import call, expect
from circuit.elements.proc import Cmd, CommunicateTimedOut, Proc
from circuit.elements.streams import MAX_COLLECTED_BYTES
from circuit.errors import TimedOut
from circuit.net.futures import time_limit
from circuit.net.runtime import Handle


class Job:
    """A command, from the making of its anchor to the ends of its outputs.

    That takes 4 round trips. It takes 3 where jobs follow one another on a host: then one asks for the anchor of the
    next, which disappears when there is none for a moment.
    """

    def __init__(self, host: Anchor, prefix: str, command: Callable[[str], Cmd]) -> None:
        """Describe it; nothing is sent.

        :param prefix: what its anchor's name begins with; a dash and 24 random hexadecimal digits follow.
        :param command: makes the command from that name; it must not wait for anything.
        """
        self.proc: Proc | None = None
        """The process; None while it was not started."""
        self._host = host
        self._runtime = host._runtime
        self._prefix = prefix
        self._command = command
        self._handles: list[Handle] = []
        """Of its anchor and process."""

    def run(
        self,
        stdin: bytes | Hidden = b"",
        timeout: float | None = None,
        limit: int = MAX_COLLECTED_BYTES,
    ) -> tuple[bytes, bytes]:
        """Start the command, send ``stdin`` and close it, and return both outputs when they have ended.

        :param timeout: seconds from its start on, for which the client's own limit holds; that, too, where None.
        :param limit: how many bytes of each output are collected.
        :raises ExecFailed: the command could not be started.
        :raises TimedOut: there was no answer to its start in time; it may have been started.
        :raises CommunicateTimedOut: an output did not end in time. To wait on, see :meth:`Proc.communicate`.
        :raises TooMuchOutput: an output is longer than ``limit``. The streams are closed; the process may go on.
        """
        seconds = self._runtime.timeout if timeout is None else timeout
        try:
            # Its own limits are inside.
            self._runtime.run(self._run(stdin, seconds, limit), f"run at {self._host.path}", float("inf"))
        except TimedOut as error:
            if self.proc is None:
                raise
            stdout, stderr = bytes(self.proc.stdout.collected), bytes(self.proc.stderr.collected)
            raise CommunicateTimedOut(str(error), stdout, stderr) from None
        assert self.proc is not None
        return bytes(self.proc.stdout.collected), bytes(self.proc.stderr.collected)

    def release(self) -> None:
        """Let go of the process and its anchor, and of its streams if it still goes on."""
        if self.proc is not None:
            self.proc.give_up()
        for handle in self._handles:
            handle.release_later()

    # on the loop

    async def _run(self, data: bytes | Hidden, timeout: float, limit: int) -> None:
        with time_limit(self._runtime.timeout):
            self.proc = await self._start()
        ask_for_next = partial(self._runtime.ahead.ask, self._host._handle.pointer, self._prefix)
        with time_limit(timeout):
            await self.proc.exchange(data, limit, ask_for_next)

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
