"""A plugin of pytest's that makes one function fail when it is first called, for tests of what reports show then.

``FORCED`` in the environment names the function, as ``module:Class.function``; ``FORCED_IN`` says whether the workers
alone are to have it fail.
"""

from __future__ import annotations

import importlib
import os
from functools import reduce
from typing import NoReturn

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Replace it."""
    if os.environ["FORCED_IN"] == "workers" and not hasattr(config, "workerinput"):
        return
    module, _, path = os.environ["FORCED"].partition(":")
    *owners, name = path.split(".")
    owner = reduce(getattr, owners, importlib.import_module(module))

    original = getattr(owner, name)

    def fail(*arguments: object, **named: object) -> NoReturn:
        setattr(owner, name, original)
        raise RuntimeError("forced")

    setattr(owner, name, fail)
