"""The command line, ``python3 -m circuit``. It begins in ``main``, and uses public names alone."""
