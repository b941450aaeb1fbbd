"""Values that strangers send: odd text, odd numbers, nested things, and mutations of sound ones."""

from __future__ import annotations

import copy

from hypothesis import settings
from hypothesis import strategies as st

fuzz = settings.get_profile("msibench-fuzz")

TEXT = st.one_of(
    st.text(max_size=12),
    st.text(alphabet=st.characters(codec=None), max_size=12),
    st.sampled_from(
        ["", "..", "../x", "/etc/passwd", "a/b", "a\\b", "\0", "\x1b[31m", "<script>", "=1+1", "@x",
         "\ud800", "nan", "1e999", "x" * 5000, "bicubic", "psnr", "area-x4@1", "é", "|", "`", "[a](b)"]
    ),
)  # fmt: skip
NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from([0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**400, 1e308, -0.0]),
)
SCALARS = st.one_of(TEXT, NUMBERS, st.booleans(), st.none())
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=6,
)


@st.composite
def mutated(draw, sound, most=4):
    """Return a deep copy of a sound document with up to `most` places replaced, removed or added."""
    document = copy.deepcopy(sound)
    for _ in range(draw(st.integers(0, most))):
        places = list(_places(document))
        holder, key = draw(st.sampled_from(places))
        action = draw(st.sampled_from(["replace", "replace", "remove", "add"]))
        try:
            if action == "replace":
                holder[key] = draw(VALUES)
            elif action == "remove":
                del holder[key]
            elif isinstance(holder, dict):
                holder[draw(TEXT)] = draw(VALUES)
            else:
                holder.append(draw(VALUES))
        except (IndexError, KeyError):
            continue
    return document


def _places(document):
    yield from (
        _inside({"": document}) if not isinstance(document, dict | list) else _inside(document)
    )


def _inside(holder):
    keys = holder.keys() if isinstance(holder, dict) else range(len(holder))
    for key in list(keys):
        yield holder, key
        if isinstance(holder[key], dict | list):
            yield from _inside(holder[key])
    if not keys:
        if isinstance(holder, list):
            holder.append(None)
            yield holder, 0
        else:
            holder[""] = None
            yield holder, ""
