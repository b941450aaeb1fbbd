"""docs/findings.md: each paragraph names the committed board that carries it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "findings.md").read_text("utf-8")
BOARDS = {path.parent.name for path in ROOT.glob("leaderboards/*/rows.parquet")}


def paragraphs():
    """Yield paragraphs and items of lists, an item after the line that ends with a colon and leads its list."""
    lead = ""
    for part in re.split(r"\n\s*\n|\n(?=- )", TEXT):
        if not part.startswith("- "):
            lead = part if part.rstrip().endswith(":") else ""
            yield part
        else:
            yield lead + part


@pytest.mark.parametrize("part", [p for p in paragraphs() if not p.startswith("#")])
def test_a_paragraph_with_a_figure_names_its_board(part):
    named = {name for name in re.findall(r"`([a-z0-9-]+)`", part) if name in BOARDS}
    assert named or not re.search(r"\d (%|dB|points)", part)


def test_every_committed_board_is_named():
    assert {name for name in BOARDS if f"`{name}`" not in TEXT} == set()
