"""Has a method learned from this section? By name, and by content. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msibench.contracts.method import MethodSpec
from msibench.image import MSImage
from msibench.training.fingerprint import find_twin, fingerprint_of
from msibench.training.patches import to_unit_scale
from msibench.weights import find


def refusal(
    spec: MethodSpec,
    section: str,
    image: MSImage | None = None,
    declared_range: float | None = None,
) -> str:
    """Return why `spec` must not be scored on a section, or an empty string.

    Parameters
    ----------
    spec
        A method. What it has seen is in ``training_data``, and with pictures in the record that lies
        beside each of its weights that msibench has trained (``<weights>.json``).
    section
        ``"data-set/section"``.
    image
        The section as measured; with it, a copy under another name is recognised too.
    declared_range
        As on the data set's card.
    """
    if section in spec.training_data or section.partition("/")[0] in spec.training_data:
        return (
            f"{spec.name} has learned from {section}: a score there would measure memory, not skill"
        )
    if image is None:
        return ""
    return twin_reason(spec.name, section, image, _records(spec), declared_range)


def twin_reason(
    method: str,
    section: str,
    image: MSImage,
    records: Iterable[Mapping[str, Any]],
    declared_range: float | None = None,
) -> str:
    """Return why `image` is one of the sections in `records`, or an empty string."""
    seen = [(entry["section"], entry) for record in records for entry in record["data"]]
    if not seen:
        return ""

    def scaled(channel: int) -> NDArray[np.float32]:
        one: NDArray[np.float32] = to_unit_scale(image.select([channel]), declared_range).values[0]
        return one

    twin = find_twin(fingerprint_of((image.channels, *image.shape), scaled), seen)
    if twin is None:
        return ""
    return (
        f"{section} is {twin[0]} under another name ({twin[1]}), and {method} has learned from it: "
        "a score there would measure memory, not skill"
    )


def _records(spec: MethodSpec) -> list[Mapping[str, Any]]:
    records = []
    for file in spec.weights:
        path = find(file)
        beside = None if path is None else path.with_suffix(".json")
        if beside is not None and beside.is_file():
            records.append(json.loads(beside.read_text(encoding="utf-8")))
    return [record for record in records if "data" in record]
