"""``python3 -m circuit``: the command line."""

from circuit.cli.main import main

raise SystemExit(main())
