"""How services are deployed: hosts picked, looked at, changed by plan, found again, taken down."""
