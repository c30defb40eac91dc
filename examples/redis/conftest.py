"""Redis on the private address of its host, with a password that is made for each run."""

from __future__ import annotations

from collections.abc import Sequence

from circuit_harness import Need, Place, Program, Secret, Service

CLI = """\
REDISCLI_AUTH=$(cat {password}) exec redis-cli -e -h {address} -p {port} "$@"
"""


def files(place: Place) -> dict[str, str | Secret]:
    """Return the program's files: its configuration, and redis-cli with the password for who can read that."""
    settings = ["bind " + place.address, f"port {place.port}", "dir " + place.work, "save ''"]
    return {
        "redis.conf": "\n".join([*settings, f"include {place.folder}/password.conf\n"]),
        "password.conf": place.password.within("requirepass {}\n"),
        "cli": CLI.format(password=place.secret("redis"), address=place.address, port=place.port),
    }


def pytest_circuit_services() -> Sequence[Service]:
    """Declare it: tests ask for the fixture ``redis``."""
    return [
        Program(
            name="redis",
            title="Redis",
            programs=[Need("Redis", ("redis-server",), "redis-server")],
            command=lambda place: ["redis-server", f"{place.folder}/redis.conf"],
            port=6379,
            files=files,
            ready=lambda place: ["sh", f"{place.folder}/cli", "ping"],
        )
    ]
