"""Text from untrusted files: decoded, and made safe to show on a terminal, in Markdown, in JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable

HARMFUL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
"""Control characters but for tab and newline (an ANSI sequence begins with one), characters that turn the
direction of text or are not seen, and halves of characters, which no file can hold."""


def visible(text: str) -> str:
    r"""Return text with every harmful character shown as ``\x1b`` and the like."""
    return HARMFUL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def in_markdown(text: str) -> str:
    """Return text that stays text in a Markdown table or line: without markup, links or images."""
    table = {"|": "\\|", "<": "&lt;", ">": "&gt;", "`": "'", "[": "\\[", "\n": " ", "\r": " "}
    return "".join(table.get(letter, letter) for letter in visible(text))


def few_of(names: Iterable[object], shown: int = 8, command: str = "") -> str:
    """Return a list of names for a message: the first few, and how many more; ``none`` for an empty one.

    Parameters
    ----------
    command
        What lists all of them; named where some are left out.
    """
    every = [str(name) for name in names]
    if len(every) <= shown + 1:
        return ", ".join(every) or "none"
    rest = f"and {len(every) - shown} more"
    return f"{', '.join(every[:shown])} {rest}" + (f" ({command} shows all)" if command else "")


ADVICE = re.compile(
    r"[^.;:()\n]*\b(allow_pickle|weights_only|add_safe_globals|trust_remote_code|trusted source)\b[^.;()\n]*[.;]?",
    re.IGNORECASE,
)


def without_advice(text: str) -> str:
    """Return a library's message without its hints at how to switch a check off."""
    return " ".join(ADVICE.sub("", text).split()) or "it holds what is never read"


def written(raw: bytes) -> str:
    """Return the text of a file written by hand: UTF-8 or, with its mark, UTF-16; any line ending.

    Raises
    ------
    UnicodeDecodeError
        It is neither.
    """
    wide = raw.startswith((b"\xff\xfe", b"\xfe\xff"))
    text = raw.decode("utf-16" if wide else "utf-8-sig")
    return text.replace("\r\n", "\n").replace("\r", "\n")
