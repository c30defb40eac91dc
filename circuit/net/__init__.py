"""Connections: sockets, sessions on them, the servers' connections back, and the engine of a client."""
