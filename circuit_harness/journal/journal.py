"""The journal of a run on one host: the command that makes a change first records it there."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from circuit_harness.errors import LeaseLost
from circuit_harness.journal import record as records
from circuit_harness.journal.record import KEPT, Change, NotWritten, Record
from circuit_harness.remote.address import Addresses
from circuit_harness.remote.command import Command
from circuit_harness.remote.host import COMMAND_LIMIT_S, Host
from circuit_harness.remote.shell import ShellResult


class Journal:
    """The changes that a run makes on one host. Safe to use from many threads."""

    def __init__(self, host: Host, record: Record) -> None:
        self.host = host
        self._record = record
        self._lock = threading.Lock()

    @property
    def record(self) -> Record:
        """The record on the host."""
        return self._record

    def change(self, changes: Sequence[Change], command: Command, timeout: float = COMMAND_LIMIT_S) -> ShellResult:
        """Record changes and run the command that makes them as root, both in one command to the host.

        :raises NotWritten, LeaseLost: the change was not recorded, and not made.
        :raises DeployError, CircuitError: as :meth:`Host.run` does; the change counts as made.
        """
        # One at a time, because a late record would lack the changes that other threads have recorded meanwhile.
        with self._lock:
            before = self._record
            self._record = replace(before, changes=(*before.changes, *changes))
            try:
                return records.write(self.host, self._record, command, timeout)
            except (NotWritten, LeaseLost):
                self._record = before
                raise

    def serve(self, service: str, described: Mapping[str, Any]) -> None:
        """Record a service that now runs on this host."""
        with self._lock:
            self._write(replace(self._record, services={**self._record.services, service: described}))

    def readdress(self, addresses: Addresses) -> None:
        """Record the host's addresses if they differ from the recorded ones."""
        with self._lock:
            if addresses != self._record.addresses:
                self._write(replace(self._record, addresses=addresses))

    def keep(self) -> None:
        """Record that the deployment is kept."""
        with self._lock:
            self._write(replace(self._record, state=KEPT))

    def _write(self, record: Record) -> None:
        records.write(self.host, record)
        self._record = record
