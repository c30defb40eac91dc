"""How services are deployed onto the hosts of a circuit, and undone; what they are is not told here."""
