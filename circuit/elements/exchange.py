"""All input and output of a process: its three streams, from their opening to their ends.

In as few round trips as there can be: the streams are opened together, then the input is closed while both outputs are
read. Each reply makes the next request at once, without a task in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial

from circuit.display import Hidden
from circuit.elements.streams import READ_BYTES, ReadStream, WriteStream
from circuit.errors import CircuitError, Closed, RemoteFault
from circuit.net.calls import Results
from circuit.net.futures import Outcome, mark_retrieved
from circuit.net.held import Handle
from circuit.net.runtime import Runtime
from circuit.wire.address import Address


class Exchange:
    """What goes on between a process and a client until both outputs have ended."""

    def __init__(
        self,
        runtime: Runtime,
        address: Address,
        stdin: WriteStream,
        outputs: tuple[ReadStream, ReadStream],
        data: bytes | Hidden,
        limit: int,
    ) -> None:
        """:param data: what the process gets as its input.
        :param limit: how many bytes of each output are collected.
        """
        self.end: Outcome[None] = Outcome()
        """Comes when both outputs have ended and are collected, or that has failed."""
        self._lifeline_losses: int | None = runtime.lifelines.losses(address)
        """How many lifelines the server had lost when it began; None when what was collected is known to be whole."""
        self._runtime = runtime
        self._address = address
        self._stdin = stdin
        self._outputs = outputs
        self._data = data
        self._limit = limit
        self._beside: Callable[[], None] | None = None
        self._closed_streams = 1 + len(outputs)
        """How many streams are not open yet."""
        self._open_outputs = len(outputs)
        """How many outputs have not ended."""
        self._is_fed = False
        self._fault: RemoteFault | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, beside: Callable[[], None] | None = None) -> None:
        """Open the streams.

        :param beside: called when the input is closed and the outputs are read, for what may travel with that.
        """
        self._beside = beside
        with self._runtime.one_write(self._address):
            for stream in (self._stdin, *self._outputs):
                stream.begin_open().then(self._opened)

    def fail(self, error: Exception) -> None:
        """End it, unless it has ended: nothing more is sent or collected, and the server closes the streams."""
        if not self.end.is_settled:
            self._let_go()
            self.end.settle(None, error)

    async def check_whole(self) -> None:
        """Check, a turn of the loop after its end, that the outputs did not end because a lifeline did.

        :raises NoLifeline: they did.
        :raises ClientLost, HostLost: the server is gone, too, and what that means.
        """
        if self._lifeline_losses is not None:
            await self._runtime.check_lifeline(self._address, self._lifeline_losses)
            self._lifeline_losses = None

    def _opened(self, _: Handle | None, error: Exception | None) -> None:
        if error is not None:
            self.fail(error)
            return
        self._closed_streams -= 1
        if self._closed_streams or self.end.is_settled:
            return
        with self._runtime.one_write(self._address):
            self._feed()
            for output in self._outputs:
                self._read(output)
            if self._beside is not None:
                self._beside()

    # input

    def _feed(self) -> None:
        data, self._data = self._data, b""
        if data or self._stdin.is_busy:
            self._begin(self._stdin.feed(data)).add_done_callback(self._fed_by_task)
        elif self._stdin.closed:
            self._is_fed = True
        else:
            self._stdin.closed = True
            self._stdin.submit("Close", (), self._fed)

    def _fed_by_task(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        self._fed(None, error if isinstance(error, Exception) else None)

    def _fed(self, _: Results | None, error: Exception | None) -> None:
        self._is_fed = True
        # Anything else that ends it ends the outputs, too, or is not an error.
        self._fault = error if isinstance(error, RemoteFault) else None
        self._end_if_complete()

    # outputs

    def _read(self, output: ReadStream) -> None:
        if output.ended:
            self._output_ended()
        elif output.is_busy:
            self._begin(output.drain(self._limit)).add_done_callback(self._drained)
        elif output.closed:
            self.fail(Closed(f"read {output!r}: it was closed"))
        else:
            output.submit("Read", (READ_BYTES,), partial(self._got, output))

    def _got(self, output: ReadStream, results: Results | None, error: Exception | None) -> None:
        if self.end.is_settled:
            return
        if results is None:
            assert error is not None
            self.fail(error)
            return
        try:
            block = output.block(results)
            output.collect(block, self._limit)
        except CircuitError as fault:
            self.fail(fault)
            return
        # The server passes full blocks on, and a shorter one only when the process has closed the output.
        if 0 < len(block) < READ_BYTES:
            output.ended = True
        self._read(output)

    def _drained(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, Exception):
            self.fail(error)
        else:
            self._output_ended()

    def _output_ended(self) -> None:
        self._open_outputs -= 1
        if not (self._open_outputs or self._is_fed or self._stdin.closed):
            # A command that ended without reading its input leaves a write unanswered forever; closing aborts it.
            self._begin(self._stdin.shut()).add_done_callback(mark_retrieved)
        self._end_if_complete()

    # the end

    def _end_if_complete(self) -> None:
        if self._open_outputs or not self._is_fed or self.end.is_settled:
            return
        self._let_go()
        self.end.settle(None, self._fault)

    def _let_go(self) -> None:
        # If one of them failed, or all is given up, the others must not go on.
        for task in self._tasks:
            task.cancel()
        self._stdin.release()
        for output in self._outputs:
            output.give_up()

    def _begin(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.append(task)
        return task
