"""The command line, ``python3 -m circuit``. It starts in ``main``, and uses only public names."""
