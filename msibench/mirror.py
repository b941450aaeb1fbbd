"""A local copy of public data and weights, so that nothing has to be downloaded twice.

``MSIBENCH_MIRROR`` names a folder laid out as ``<mirror>/<data set>/<file>``, or one that holds such
folders under ``data/``, ``weights/`` and so on; several, best first, as in ``PATH``. Without it,
``../shared`` beside the checkout is taken when it is there.
"""

from __future__ import annotations

import os
from pathlib import Path


def mirror_roots() -> tuple[Path, ...]:
    """Return the folders in which mirrored files may be, best first; empty without a mirror."""
    named = os.environ.get("MSIBENCH_MIRROR")
    if named is not None:
        roots = [Path(part).expanduser() for part in named.split(os.pathsep) if part.strip()]
    else:
        checkout = Path(__file__).resolve().parents[1]
        beside = (checkout.parent / "shared", Path.cwd().parent / "shared")
        roots = [next((path for path in beside if (path / "data").is_dir()), beside[0])]
    return tuple(
        path
        for root in roots
        for path in (root, root / "data", root / "weights", root / "oracles")
        if path.is_dir()
    )


def find_in_mirror(relative: str | Path) -> Path | None:
    """Return the path of `relative` (``"bladder/bladder.npz"``) in the mirror, or None.

    A path that would leave the mirror is never followed.
    """
    if Path(relative).is_absolute() or ".." in Path(relative).parts:
        return None
    for root in mirror_roots():
        path = root / relative
        if path.exists():
            return path
    return None
