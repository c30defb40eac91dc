"""Hosts whose resolver does not answer, as in networks that reach no other."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from localhosts import Cluster
from localhosts.privilege import as_root

LIMIT_S = 20.0

# An open port that takes all and answers nothing; it prints who has asked first, and ends with its input.
_SILENT = """
import socket, sys, threading
port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
port.bind((sys.argv[1], 53))
print("listening", flush=True)
def take():
    known = set()
    while True:
        sender = port.recvfrom(65535)[1][0]
        if sender not in known:
            known.add(sender)
            print(sender, flush=True)
threading.Thread(target=take, daemon=True).start()
sys.stdin.read()
"""


@contextmanager
def silent_resolver(cluster: Cluster) -> Iterator[None]:
    """Have all hosts ask the gateway for names, which does not answer; each is seen to ask. In the end none asks."""
    with contextlib.ExitStack() as stack:
        process = subprocess.Popen(
            as_root([sys.executable, "-I", "-c", _SILENT, cluster.gateway]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        stack.callback(process.wait, LIMIT_S)
        stack.enter_context(process.stdin or contextlib.nullcontext())
        assert process.stdout is not None
        stack.callback(process.stdout.close)
        # What does not come is no reason to wait for ever: its end ends the lines.
        watchdog = threading.Timer(LIMIT_S, process.kill)
        watchdog.start()
        stack.callback(watchdog.cancel)
        assert process.stdout.readline() == "listening\n"
        for host in cluster.hosts:
            use = f"grep -q '^hosts:.* dns' /etc/nsswitch.conf && echo nameserver {cluster.gateway} > /etc/resolv.conf"
            assert host.run("/bin/sh", "-c", use).returncode == 0
            stack.callback(host.run, "/bin/sh", "-c", ": > /etc/resolv.conf")
            asked = host.run("timeout", "1", "getent", "hosts", cluster.gateway)
            assert asked.returncode == 124, asked.stdout
        seen = {process.stdout.readline().strip() for _ in cluster.hosts}
        assert seen == {host.private_address for host in cluster.hosts}
        watchdog.cancel()
        yield
