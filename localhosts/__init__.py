"""Hosts on this machine, for users without a circuit of their own.

systemd-nspawn starts each host from a Debian tree. A host has its own root, network, name and metadata service, and a
circuit server, which runs as user ``ubuntu`` by default. Linux only; needs root or password-less sudo.
"""

from __future__ import annotations

from .cluster import Cluster, Host
from .errors import LocalHostsError
from .image import Image

__all__ = ["Cluster", "Host", "Image", "LocalHostsError"]
