"""What lies where a file should be when its download went wrong: a pointer, a web page, nothing."""

from __future__ import annotations

import re
from pathlib import Path

WEB_PAGE = re.compile(rb"\s*(<!--.*?-->\s*)*<(!doctype\s+html|html|head|body)\b", re.I | re.S)
SERVER_ANSWER = re.compile(rb'\s*\{\s*"(error|message|detail|errors)"\s*:')
HEAD = 1024


def stand_in(path: Path) -> str:
    """Return what a file is in place of its content, and what to do; empty for any other file.

    Looks at the first bytes only, whatever the name says.
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
    if not head:
        return "is empty; copy or download it again"
    if head.startswith(b"version https://git-lfs"):
        return (
            f"is a Git LFS pointer of {path.stat().st_size} bytes, not the file itself; fetch it "
            "with `git lfs pull`"
        )
    text = head.removeprefix(b"\xef\xbb\xbf")
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = head[2:].replace(b"\0", b"")
    if WEB_PAGE.match(text):
        return (
            "is a web page (HTML), not the file itself: the server asked for something first, or "
            "had no such file. Open the link in a browser and download the file from there"
        )
    if SERVER_ANSWER.match(text):
        return "is a server's error message (JSON), not the file itself; download it again"
    return ""
