"""Check the parameters of a service."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from circuit_harness.errors import DeployError

PORTS = range(1024, 65536)
"""Only root's programs can listen on a port below 1024."""

NAMES = "up to 24 lowercase letters, digits and _, beginning with a letter"

_NAME = re.compile(r"[a-z][a-z0-9_]{0,23}")


def is_name(text: str) -> bool:
    """Return whether a text can name a service, a database or a user, in a path and in SQL without quotes."""
    return bool(_NAME.fullmatch(text))


def check_words(service: str, parameter: str, value: object) -> None:
    """Check a parameter that is a list of words, or a function of the place that returns one.

    :raises DeployError: it is not.
    """
    if callable(value):
        check_function(service, parameter, value)
    elif isinstance(value, str) or not isinstance(value, Sequence):
        raise DeployError(f"service {service}: {parameter} is {value!r}: give a list of words")


def check_mapping(service: str, parameter: str, value: object) -> None:
    """Check a parameter that is a dictionary, or a function of the place that returns one.

    :raises DeployError: it is not.
    """
    if callable(value):
        check_function(service, parameter, value)
    elif not isinstance(value, Mapping):
        raise DeployError(f"service {service}: {parameter} is {value!r}: give a dict")


def check_function(service: str, parameter: str, value: Callable[..., object]) -> None:
    """Check that a function can be called with the place alone.

    :raises DeployError: it cannot.
    """
    try:
        # Not every callable has a known signature.
        with suppress(ValueError):
            inspect.signature(value).bind(None)
    except TypeError:
        raise DeployError(f"service {service}: {parameter} is a function of the place: give it one parameter") from None


def check(name: str, port: int) -> None:
    """Check the name and the port of a service.

    :raises DeployError: one of them is not valid.
    """
    if not is_name(name):
        raise DeployError(f"{name!r} is not a valid service name: use {NAMES}")
    if port not in PORTS:
        raise DeployError(f"service {name}: port {port!r} is not from {PORTS.start} to {PORTS.stop - 1}")
