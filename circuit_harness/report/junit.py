"""What a run tells in JUnit's XML besides its results: run id, hosts and addresses, as properties of the suite."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest


class JUnitProperties:
    """A plugin that adds a run's facts to the XML just before that is written.

    Properties of the suite are the only ones that the schema of today (xunit2) knows; and pytest's fixture that records
    them is lost under xdist, whose workers write no XML. Hence the way to the writer itself.
    """

    def __init__(self, document: Callable[[int], Mapping[str, Any]]) -> None:
        """:param document: what the run came to, given its exit status; see ``compose``."""
        self._document = document

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Add them, if there is an XML to write."""
        plugins = session.config.pluginmanager.get_plugins()
        xml: Any = next((plugin for plugin in plugins if hasattr(plugin, "add_global_property")), None)
        if xml is None:
            return
        document = self._document(exitstatus)
        for name in ("run", "owner", "started", "mode"):
            xml.add_global_property(name, document[name])
        for address in document["circuit"]:
            xml.add_global_property("circuit", address)
        for part, service in document["services"].items():
            xml.add_global_property(f"{part}.host", service["host"])
            xml.add_global_property(f"{part}.address", f"{service['address']} {service['port']}")
