"""Hosts on this machine, for users without a circuit of their own.

systemd-nspawn starts each host from a Debian tree. A host has its own root, network, name and metadata service, and a
circuit server, which runs as user ``ubuntu`` by default. Linux only; needs root or password-less sudo.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .errors import LocalHostsError

if TYPE_CHECKING:
    from .cluster import Cluster, Host
    from .image import Image

__all__ = ["Cluster", "Host", "Image", "LocalHostsError"]

if not TYPE_CHECKING:
    # Who only catches the error needs none of these, and they are slow to load.
    _WHERE = {"Cluster": "cluster", "Host": "cluster", "Image": "image"}

    def __getattr__(name: str) -> object:
        if name not in _WHERE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
