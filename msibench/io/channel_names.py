"""The m/z in the name of a channel, however its author writes numbers."""

from __future__ import annotations

import math
import re

from msibench.io.data_warning import warn_about_data

SPACE = " \u00a0\u202f"
NAME = re.compile(
    rf"^\s*m/?z[\s_:=]*([0-9]{{1,3}}(?:[{SPACE}][0-9]{{3}})+(?:[.,][0-9]+)?|[0-9]+(?:[.,'][0-9]+)*)"
    r"(e[+-]?[0-9]+)?",
    re.IGNORECASE,
)
GROUPED = (
    (re.compile(r"[0-9]{1,3}([,' \u00a0\u202f][0-9]{3})+\.[0-9]+"), "."),  # 1,046.54
    (re.compile(r"[0-9]{1,3}([.' \u00a0\u202f][0-9]{3})+,[0-9]+"), ","),  # 1.046,54
)
LARGEST_THOUSANDS, SMALLEST_DECIMAL = 4, 50


def mz_of(name: str) -> float:
    """Return the m/z in ``"m/z 798.54"``, ``"mz=798,54"``, ``"m/z 1,046.54"``, ``"m/z 7.98e2"``.

    A comma before three last digits may part thousands or decimals: ``1,046`` is 1046, as no ion has
    1.046; ``798,541`` is 798.541, as no m/z is that large. From 4 to 50 it is ambiguous.

    Returns
    -------
    NaN for a name without m/z, and, with a DataWarning, where it is ambiguous.
    """
    found = NAME.match(name or "")
    if not found:
        return math.nan
    text, exponent = found[1], found[2] or ""
    for pattern, decimal in GROUPED:
        if pattern.fullmatch(text):
            whole, _, rest = text.partition(decimal)
            text = f"{re.sub(r'[^0-9]', '', whole)}.{rest}"
    if parts := re.fullmatch(r"([0-9]{1,3}),([0-9]{3})", text):
        lead = int(parts[1])
        if LARGEST_THOUSANDS <= lead < SMALLEST_DECIMAL:
            warn_about_data(
                f"channel {name[:60]!r}: {lead} and a part, or {lead} thousand? Its m/z is left unknown; "
                "write it with a point, or give --mz"
            )
            return math.nan
        text = "".join(parts.groups()) if lead < LARGEST_THOUSANDS else ".".join(parts.groups())
    try:
        value = float(text.replace(",", ".") + exponent)
    except ValueError:
        return math.nan
    return value if 0 < value < math.inf else math.nan
