"""Seeds that depend on names, so that neither order nor company changes a draw."""

from __future__ import annotations

import hashlib


def seed_from(*names: object) -> int:
    """Return a 64-bit seed from names, the same on every machine.

    Examples
    --------
    >>> seed_from("bladder-x4", 0) == seed_from("bladder-x4", 0)
    True
    >>> seed_from("a", "bc") == seed_from("ab", "c")
    False
    """
    text = "\x1f".join(str(name) for name in names)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
