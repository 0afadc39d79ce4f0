"""TCP ports for what tests start, none of which the kernel gives to an outgoing connection meanwhile."""

from __future__ import annotations

import random
import socket

PORTS = range(10_000, 15_000)
"""Nor those at which the ranks of a stage meet."""


def free_ports(count: int) -> list[int]:
    """Return different ports that nothing listens on, chosen at random, as tests run side by side."""
    found: set[int] = set()
    while len(found) < count:
        port = random.SystemRandom().choice(PORTS)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                found.add(port)
    return [*found]
