"""The protocol between the run and its supervisor.

The run writes one request, a line of JSON, to the supervisor's standard input and leaves it open. The supervisor writes
events to its standard output, one a line. When its input ends, it tears everything down.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from .image import Image
from .inits import Kind
from .metadata import MetadataMode
from .server import Server


@dataclass(frozen=True)
class Request:
    """The hosts that the supervisor is to make. Without a ``server``, it makes the image and ends."""

    image: Image
    images: str
    """The folder of the user's images."""
    hosts: int = 1
    server: Server | None = None
    kind: Kind = field(default_factory=Kind)
    metadata: MetadataMode = "optional"
    ipv6: bool = False
    """Whether hosts also have IPv6 addresses."""
    second_network: bool = False
    """Whether hosts have a second private network."""
    owner: tuple[int, int] = (0, 0)
    """The numbers of the user who may read the circuit's key, and of the user's group."""
    keyed: bool = True
    """Whether the circuit has a key."""
    timeout: float = 60.0
    """Seconds from the boot to the last circuit address."""

    def encode(self) -> bytes:
        """Return the request as a line."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> Request:
        """Parse a request. Raises ValueError."""
        fields = json.loads(line)
        image = fields.pop("image")
        server = fields.pop("server")
        if server is not None:
            server = Server(**{**server, "options": tuple(server["options"])})
        lists = ("packages", "apt_options", "components", "more")
        return cls(
            image=Image(**{**image, **{name: tuple(image[name]) for name in lists}}),
            server=server,
            kind=Kind(**fields.pop("kind")),
            owner=tuple(fields.pop("owner")),
            **fields,
        )


@dataclass(frozen=True)
class Started:
    """The supervisor has started. ``pid``, as the run counts processes, is the one whose end ends all of them."""

    pid: int


@dataclass(frozen=True)
class Step:
    """A step begins: its description for the user, and the seconds it may take."""

    text: str
    limit: float


@dataclass(frozen=True)
class Failed:
    """The request failed; the supervisor is tearing everything down."""

    text: str


@dataclass(frozen=True)
class HostMade:
    """A host that is up, with its circuit server."""

    name: str
    private_address: str
    public_address: str
    circuit_address: str
    group: str
    users: int = 0
    private_address6: str = ""
    public_address6: str = ""
    second_address: str = ""


@dataclass(frozen=True)
class Ready:
    """All hosts are up. ``key_file`` holds the circuit's key, which no event contains; "" for a circuit without one."""

    name: str
    identity: str
    key_file: str
    gateway: str
    gateway6: str
    hosts: tuple[HostMade, ...]


@dataclass(frozen=True)
class Gone:
    """Everything is torn down, except ``left``."""

    left: tuple[str, ...]


Event = Started | Step | Failed | Ready | Gone

_EVENTS: dict[str, type[Event]] = {kind.__name__: kind for kind in (Started, Step, Failed, Ready, Gone)}


def encode(event: Event) -> bytes:
    """Return the event as a line."""
    return json.dumps({"event": type(event).__name__, **asdict(event)}).encode() + b"\n"


def decode(line: bytes) -> Event:
    """Parse an event. Raises ValueError."""
    fields: dict[str, Any] = json.loads(line)
    kind = _EVENTS.get(fields.pop("event", ""))
    if kind is None:
        raise ValueError("not a valid event of a supervisor")
    if kind is Ready:
        fields["hosts"] = tuple(HostMade(**host) for host in fields["hosts"])
    if kind is Gone:
        fields["left"] = tuple(fields["left"])
    return kind(**fields)
