"""Node.js apps."""

from circuit_harness.services.nodejs.app import NodeApp

__all__ = ["NodeApp"]
