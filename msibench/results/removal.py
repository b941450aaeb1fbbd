"""Remove folders that somebody else filled."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from pathlib import Path


def remove(path: Path) -> None:
    """Remove a file, a link or a whole folder, as far as that is allowed; links are not followed.

    A folder may be nested deeper than a path or a stack can be: its folders are moved up and emptied
    one level at a time.
    """
    with suppress(OSError):
        if path.is_symlink() or not path.is_dir():
            path.unlink(missing_ok=True)
            return
        waiting = [path]
        while waiting:
            folder = waiting.pop()
            with suppress(OSError):
                folder.chmod(0o700)  # a folder that its maker locked
            for entry in list(os.scandir(folder)):
                if entry.is_dir(follow_symlinks=False):
                    if folder == path:
                        waiting.append(Path(entry.path))
                    else:
                        os.chmod(entry.path, 0o700)  # noqa: PTH101
                        up = path / f".{uuid.uuid4().hex}"
                        os.rename(entry.path, up)  # noqa: PTH104
                        waiting.append(up)
                else:
                    with suppress(OSError):
                        os.unlink(entry.path)  # noqa: PTH108
            if folder != path:
                with suppress(OSError):
                    folder.rmdir()
        path.rmdir()
