"""Formulas of the docs site: ```` ```math ```` blocks, as code hosts draw them, become MathML when the site is built.

A browser draws MathML by itself, so that the site loads no script and nothing from elsewhere.
"""

from __future__ import annotations

import re
from typing import Any

from latex2mathml.converter import convert

BLOCK = re.compile(r"^```math\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def on_page_markdown(markdown: str, **page: Any) -> str:
    """Replace the formulas of one page before Markdown sees them."""
    return BLOCK.sub(lambda found: formula(found[1]), markdown)


def formula(latex: str) -> str:
    """Return one formula on a line of its own, with its LaTeX as the words for screen readers."""
    written = " ".join(latex.split())
    drawn = convert(written, display="block")
    words = written.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return drawn.replace("<math ", f'<math aria-label="{words}" ', 1)
