"""Properties of a run in JUnit's XML, in addition to its results: run id, hosts and addresses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest


class JUnitProperties:
    """A plugin that adds a run's properties to the XML just before pytest writes it.

    They are properties of the suite, because the current schema (xunit2) allows no others. They go to the XML's writer
    directly, because those recorded with pytest's fixture are lost under xdist, whose workers write no XML.
    """

    def __init__(self, document: Callable[[int], Mapping[str, Any]]) -> None:
        """:param document: returns the run's document, given its exit status; see ``compose``."""
        self._document = document

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Add the properties, if pytest writes an XML."""
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
