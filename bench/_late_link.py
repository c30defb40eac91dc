"""A network namespace that is some way off: every IP packet to it and from it arrives late, whatever it is part of.

Two TUN devices, one here and one in the namespace, and a thread that carries packets between them. The kernel's own way
to delay packets (netem) is no part of many kernels.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

_TUNSETIFF = 0x400454CA
_IFF_TUN = 0x0001
_IFF_NO_PI = 0x1000
_PACKET_BYTES = 65536
_IDLE_S = 0.2


class LateLink:
    """The link to a namespace, which is there while the context is."""

    def __init__(self, near: str, far: str, name: str) -> None:
        """Describe it.

        :param near: the link's address here.
        :param far: its address in the namespace.
        :param name: of the device, here and in the namespace.
        """
        self.delay_s = 0.0
        """How late packets arrive, either way."""
        self._near, self._far, self._name = near, far, name
        self._holder: subprocess.Popen[bytes] | None = None

    def command(self, *argv: str) -> list[str]:
        """The command line that runs another in the namespace."""
        assert self._holder is not None
        return ["nsenter", f"--net=/proc/{self._holder.pid}/ns/net", "--", *argv]

    @contextmanager
    def up(self) -> Iterator[LateLink]:
        """Make namespace and link, with a default route in it that leads here."""
        with ExitStack() as stack:
            here, there = (stack.enter_context(_tun(name)) for name in (self._name, f"{self._name}far"))
            # It ends when its input does, also where this process is killed; and the namespace with it.
            self._holder = stack.enter_context(
                subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
            )
            _wait_for_namespace(self._holder.pid)
            _run("ip", "link", "set", f"{self._name}far", "netns", str(self._holder.pid))
            _address(self._name, self._near, self._far)
            _address(f"{self._name}far", self._far, self._near, self.command())
            _run(*self.command("ip", "link", "set", "lo", "up"))
            _run(*self.command("ip", "route", "add", "default", "via", self._near))
            over = threading.Event()
            for source, target in ((here, there), (there, here)):
                carrier = threading.Thread(target=self._carry, args=(source, target, over), daemon=True)
                carrier.start()
                stack.callback(carrier.join)
            stack.callback(over.set)
            yield self

    def _carry(self, source: int, target: int, over: threading.Event) -> None:
        """Carry packets one way, in their order."""
        under_way: deque[tuple[float, bytes]] = deque()
        while not over.is_set():
            wait = max(under_way[0][0] - time.monotonic(), 0.0) if under_way else _IDLE_S
            if select.select([source], [], [], wait)[0]:
                under_way.append((time.monotonic() + self.delay_s, os.read(source, _PACKET_BYTES)))
            while under_way and under_way[0][0] <= time.monotonic():
                os.write(target, under_way.popleft()[1])


@contextmanager
def forwarding(*devices: str) -> Iterator[None]:
    """Have the kernel pass on what comes in by these devices, during the body."""
    files = [Path("/proc/sys/net/ipv4/conf", device, "forwarding") for device in devices]
    before = [file.read_text() for file in files]
    try:
        for file in files:
            file.write_text("1")
        yield
    finally:
        for file, text in zip(files, before, strict=True):
            file.write_text(text)


@contextmanager
def _tun(name: str) -> Iterator[int]:
    """A TUN device, which goes when its file is closed."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
        yield device
    finally:
        os.close(device)


def _wait_for_namespace(pid: int) -> None:
    deadline = time.monotonic() + 5
    while Path(f"/proc/{pid}/ns/net").readlink() == Path("/proc/self/ns/net").readlink():
        assert time.monotonic() < deadline, "unshare did not make a namespace"
        time.sleep(0.01)


def _address(device: str, own: str, other: str, within: Sequence[str] = ()) -> None:
    _run(*within, "ip", "address", "add", own, "peer", other, "dev", device)
    _run(*within, "ip", "link", "set", device, "up")


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, timeout=10, stdin=subprocess.DEVNULL)
