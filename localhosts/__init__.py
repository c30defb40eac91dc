"""Hosts on this machine, for users without a circuit of their own.

Each host is a Debian tree started by systemd-nspawn, with its own root, network, name and metadata service, and a
circuit server that runs as user ``ubuntu`` unless told otherwise. Linux only; root or password-less sudo.
"""

from __future__ import annotations

from .cluster import Cluster, Host
from .errors import LocalHostsError
from .image import Image

__all__ = ["Cluster", "Host", "Image", "LocalHostsError"]
