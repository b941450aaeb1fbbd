"""docs/findings.md: each paragraph names the committed board that carries it."""

import re
from pathlib import Path

import pandas as pd
import pytest
from scipy.stats import t as student

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


# --- the table of what a guide adds beyond back-projection ---

OVER_SECTIONS = (
    "charted-held-sections-x4", "laicpms-prostate-fusion-x4", "laicpms-prostate-fusion-x2",
)  # fmt: skip
ALONE = ("bicubic+consistent", "lanczos3+consistent")
GUIDED = ("guided-filter", "joint-bilateral", "pls", "ridge")


def lines_of_the_table():
    section = TEXT.partition("## What a guide adds beyond back-projection")[2].partition("\n## ")[0]
    return re.findall(r"\| `([a-z0-9-]+)` \| (.*) \|\n", section)


def scores(board):
    """Return the skill of ion images (of sections, where there are several), within its bounds; a method a column."""
    rows = pd.read_parquet(ROOT / "leaderboards" / board / "rows.parquet")
    rows = rows[(rows["metric"] == "skill") & (rows["region"] == "image") & (rows["control"] == "")]
    table = rows.pivot_table(index=["section", "channel"], columns="method", values="value")
    table = 100 * table.where(table > 0, table / (1 - table))
    return table.groupby("section").mean() if board in OVER_SECTIONS else table


@pytest.mark.parametrize(("board", "said"), lines_of_the_table())
def test_what_a_guide_adds_is_what_the_rows_of_the_board_say(board, said):
    found = scores(board)
    cells = [", ".join(f"{found[name].mean():.1f}" for name in ALONE) + " %"]
    for name in GUIDED:
        cells.append("")
        if f"{name}+consistent" in found:
            gain = found[f"{name}+consistent"] - found["lanczos3+consistent"]
            half = student.ppf(0.975, len(gain) - 1) * gain.sem()
            interval = f" [{gain.mean() - half:.1f}, {gain.mean() + half:.1f}]"
            cells[-1] = f"{gain.mean():+.1f}{interval if len(gain) > 3 else ''}"
    assert [cell.strip() for cell in said.split("|")] == [
        re.sub(r"-0\.0\b", "0.0", c) for c in cells
    ]


def test_every_board_that_can_say_what_a_guide_adds_is_in_the_table():
    twins = {f"{name}+consistent" for name in GUIDED}
    able = {
        name
        for name in BOARDS
        if set(ALONE)
        < (methods := set(pd.read_csv(ROOT / "leaderboards" / name / "leaderboard.csv")["method"]))
        and twins & methods
    }
    assert able == {board for board, _ in lines_of_the_table()}
