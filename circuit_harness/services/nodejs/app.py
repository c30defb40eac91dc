"""A Node.js app as a service: the run sends its folder and packages, and starts it in a sandbox."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from circuit_harness.errors import DeployError
from circuit_harness.operations.needs import Need
from circuit_harness.services.nodejs.bundle import LOCK, PACKAGE, Bundle, build
from circuit_harness.services.program import Facts, Place, Program, Words
from circuit_harness.services.protocol import Local, Results

PROGRAMS = ("nodejs", "node")
"""The names of Node.js's program; a host uses the first of them that it has."""

OLDEST = 18

HEAP_MIB = 256
"""The maximum size of the app's heap, in MiB."""

_NODE = Need("Node.js", PROGRAMS, "nodejs", oldest=OLDEST)


@dataclass(frozen=True, kw_only=True)
class NodeApp(Program):
    """A Node.js app: a ``folder`` with package.json, a lock file, and any files. npm adds the packages on this machine.

    ``start`` are the words behind ``node``; the first one is a file of the folder. See :class:`Program` for the other
    parameters.

    :raises DeployError: a parameter is not valid, or the folder has no package.json or no lock file.
    """

    folder: Path
    start: Words
    command: Words = field(default=("node",), init=False)
    programs: Sequence[Need] = field(default=(_NODE,), init=False)
    port: int = 8080
    public: bool = True

    noun = "app"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.start:
            raise DeployError(f"service {self.name}: start is empty: name a file of {self.folder}")
        for file in (PACKAGE, LOCK):
            if not (self.folder / file).is_file():
                raise DeployError(f"service {self.name}: {self.folder} has no {file}: npm install makes one")

    @property
    def announced(self) -> str:
        """The text that the run prints in front of its address."""
        return f"{self.title} service on public address"

    @property
    def here(self) -> tuple[Local, ...]:
        """The app with its packages."""
        return (Local("bundle", f"{self.title}: put the app together, here", partial(build, self.folder), "<bundle>"),)

    def archive(self, results: Results) -> bytes:
        """Return the app with its packages, as a gzipped tar."""
        bundle: Bundle | str = results["bundle"]
        return bundle.data if isinstance(bundle, Bundle) else b"-"

    def sending(self, results: Results) -> str:
        """Return the words for this step."""
        return f"send the app, {results['bundle']}"

    def words(self, facts: Facts, place: Place) -> list[str]:
        """Return the words of its command: Node.js, and the file of the folder that it runs."""
        file, *rest = self.start(place) if callable(self.start) else self.start
        return [facts.program, f"--max-old-space-size={HEAP_MIB}", f"{place.folder}/{file}", *rest]

    @property
    def _program(self) -> Sequence[str]:
        return PROGRAMS
