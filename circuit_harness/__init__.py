"""How services are deployed onto the hosts of a circuit, and removed again. It does not know which services."""
