"""Hyper-parameters and where they come from."""

DEFAULTS: dict[str, object] = {
    "radius": 2,
    "anchors": 32,
    "ridge": 1e-3,
    "samples": 1_000_000,
}

SOURCES = {
    "radius": "our choice: 5 x 5 coarse pixels; 7 x 7 gave no more on held-out brain sections",
    "anchors": "our choice: 128 gave no more",
    "ridge": "our choice: a thousandth of the mean power of a neighbourhood's pixels",
    "samples": "our choice: neighbourhoods that are learned from at most, evenly taken",
}
