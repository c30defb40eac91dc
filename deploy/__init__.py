"""Deploys the tutorial's service onto the hosts of a circuit: MySQL on one, the Node.js API on another.

Each module is one noun. Functions take host anchors of :mod:`circuit`, and report their steps to :class:`Steps`; what
they change, they first tell :class:`Changes`, which writes down on the host how to undo it.
"""
