"""The supervisor: makes a cluster, keeps it and takes it down; the first process of its own process namespace.

Everything it makes is inside its namespaces, except one link on the runner, a lock file, a key file and folders of
control groups. It reads a request from its standard input and tears down when that input ends, however the run ended.
If it is killed itself, the kernel ends every process of its namespaces.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from . import commands, image, machine, metadata, network, preflight, protocol, server, sweep
from .errors import LocalHostsError
from .protocol import Event, Failed, Gone, Ready, Request, Step

RUNNER_NETWORK = 3
"""The descriptor of the runner's network namespace, opened before this process entered its own."""

STEP_LIMIT = 30.0
"""Seconds that the steps before and after a boot may take in total."""


def main() -> None:
    """Serve one request."""
    os.environ["PATH"] = preflight.search_path()
    # All users of a host must be able to read the files that this process writes for it.
    os.umask(0o022)
    asyncio.run(_serve(Request.decode(_first_line())))


async def _serve(request: Request) -> None:
    end = asyncio.create_task(_wait_for_end())
    left: list[str] = []
    async with contextlib.AsyncExitStack() as undo:
        making = asyncio.create_task(_make(request, undo, left))
        # Nothing ever cancels the undoing, which always runs to its end.
        await asyncio.wait({making, end}, return_when=asyncio.FIRST_COMPLETED)
        making.cancel()
        try:
            ready = await making
        except asyncio.CancelledError:
            pass
        except (LocalHostsError, OSError) as error:
            _write(Failed(str(error)))
        else:
            if ready is not None:
                _write(ready)
                await end
    end.cancel()
    _write(Gone(tuple(left)))


async def _wait_for_end() -> None:
    """Wait for the end of the standard input or for a signal to end."""
    end = asyncio.Event()
    loop = asyncio.get_running_loop()

    def read() -> None:
        if not os.read(0, 4096):
            loop.remove_reader(0)
            end.set()

    loop.add_reader(0, read)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, end.set)
    await end.wait()


async def _make(request: Request, undo: contextlib.AsyncExitStack, left: list[str]) -> Ready | None:
    """Make the requested cluster.

    Each step pushes its undoing to ``undo``, which adds what it cannot undo to ``left``.
    """
    sweep.sweep()
    user_namespaces = await preflight.look_from_inside()
    runner = Path(f"/proc/{os.getpid()}/fd/{RUNNER_NETWORK}")
    tree, layer = await image.ensure(request.image, Path(request.images), runner, _report_step)
    program = request.server
    if program is None:
        return None
    _report_step(f"booting {request.hosts} host{'s' if request.hosts > 1 else ''}", request.timeout + STEP_LIMIT)
    if not user_namespaces:
        _report_step(f"user namespaces are refused here: {request.kind.danger_without_user_namespace}", STEP_LIMIT)
    request.kind.require_init(tree)
    for held in (tree, layer) if layer is not None else (tree,):
        undo.enter_context(image.hold(held))
    identity = sweep.new_identity()
    key = server.new_key() if request.keyed else ""
    undo.enter_context(sweep.alive(identity, key, request.owner))
    await _lay_out(program, tree, layer)
    await network.name_runner(RUNNER_NETWORK)
    extras = network.Extras(request.metadata != "none", request.ipv6, request.second_network)
    cluster = await network.claim(extras)
    undo.push_async_callback(_disconnect, cluster, left)
    await network.connect(extras)
    machines = [
        machine.Machine(cluster, number, request.kind, sweep.group(identity, number), extras, user_namespaces)
        for number in range(1, request.hosts + 1)
    ]
    undo.push_async_callback(_end, machines, left)
    await asyncio.gather(*(one.prepare(program, key, request.timeout) for one in machines))
    await _boot(machines, request)
    gateway6 = cluster.gateway6 if request.ipv6 else ""
    key_file = str(sweep.key_file(identity)) if request.keyed else ""
    return Ready(cluster.name, identity, key_file, cluster.gateway, gateway6, tuple(one.made() for one in machines))


async def _lay_out(program: server.Server, tree: Path, layer: Path | None) -> None:
    """Make the folder for all hosts, with the layers that they share."""
    # Mounted on /run, it hides the machine's own files about hosts and namespaces, from this process only. It is a
    # tmpfs, because the kernel removes that with the namespace, and because an overlay cannot be another overlay's
    # upper layer.
    await commands.run("mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/run")
    machine.IMAGE.mkdir()
    await commands.run("mount", "--bind", str(tree), str(machine.IMAGE))
    machine.LAYER.mkdir()
    if layer is not None:
        await commands.run("mount", "--bind", str(layer), str(machine.LAYER))
    machine.PROJECT.mkdir()
    await asyncio.to_thread(program.install, machine.PROJECT)


async def _boot(machines: Sequence[machine.Machine], request: Request) -> None:
    """Boot all hosts concurrently; return when every circuit server has printed its address. All join the first."""
    deadline = time.monotonic() + request.timeout
    await asyncio.gather(*(_start(one, request, deadline) for one in machines))
    first, *others = machines
    first.join(None)
    await first.wait_for_circuit(deadline)
    for one in others:
        one.join(first.circuit_address)
    for one in others:
        await one.wait_for_circuit(deadline)


async def _start(one: machine.Machine, request: Request, deadline: float) -> None:
    """Start a host and connect it while it boots: its circuit server waits for the circuit to join."""
    pid = await one.boot(deadline)
    await network.connect_host(one.range, one.number, pid, one.extras)
    values = {"local-ipv4": one.private, "public-ipv4": one.public}
    metadata.serve(network.namespace(one.number), values, request.metadata)


async def _end(machines: Sequence[machine.Machine], left: list[str]) -> None:
    for remains in await asyncio.gather(*(one.end() for one in machines)):
        left.extend(remains)


async def _disconnect(cluster: network.Range, left: list[str]) -> None:
    try:
        await network.disconnect(cluster)
    except LocalHostsError as error:
        left.append(f"link {cluster.name}: {error}")


def _first_line() -> bytes:
    """Read the first line of the standard input, and not a byte more."""
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(0, 1)):
        line += byte
    return line


def _report_step(text: str, limit: float) -> None:
    _write(Step(text, limit))


def _write(event: Event) -> None:
    # The supervisor must tear down even when the run has died and reads no events.
    with contextlib.suppress(BrokenPipeError):
        os.write(1, protocol.encode(event))


if __name__ == "__main__":
    main()
