"""Protocols by name: ``"area-x4@1"`` is the family ``area``, factor 4, version 1."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType

from msibench.degradation.families import FAMILIES, find_family
from msibench.degradation.protocol import DegradationProtocol
from msibench.degradation.scaling import Scaling
from msibench.errors import UnknownNameError

LARGEST_FACTOR = 32
_NAME = re.compile(r"(?P<family>[a-z][a-z0-9-]*)-x(?P<factor>[1-9][0-9]*)@(?P<version>[1-9][0-9]*)")


def protocol(name: str) -> DegradationProtocol:
    """Return the protocol called `name`, such as ``"area-x4@1"``.

    Raises
    ------
    UnknownNameError
        If no family has that name and version, or the factor is not 1 to 32.
    """
    match = _NAME.fullmatch(name)
    family = None if match is None else find_family(f"{match['family']}@{match['version']}")
    if match is None or family is None:
        raise UnknownNameError(f"No protocol named {name!r}.{_nearest(name)}")
    factor = int(match["factor"])
    if factor > LARGEST_FACTOR:
        raise UnknownNameError(
            f"No protocol named {name!r}: the factor must be 1 to {LARGEST_FACTOR}, got {factor}."
        )
    return DegradationProtocol(
        name=name,
        factor=factor,
        steps=family.steps(factor),
        scaling=Scaling(),
        quantise8=family.quantise8,
        border=family.border_coarse_pixels * factor,
        normalisation=family.normalisation,
        thinned=family.thinned,
        repeated=family.repeated,
    )


def protocol_families() -> Mapping[str, str]:
    """Return every family of the core as ``"area-xN@1"`` (N: 1 to 32) with a line on each."""
    return MappingProxyType(
        {key.replace("@", "-xN@"): family.description for key, family in FAMILIES.items()}
    )


def _nearest(name: str) -> str:
    stem, _, rest = name.partition("-x")
    digits = re.match(r"0*([1-9][0-9]?)(?![0-9])", rest)
    factor = int(digits[1]) if digits and int(digits[1]) <= LARGEST_FACTOR else 4
    known = [key.replace("@", f"-x{factor}@") for key in FAMILIES]
    near = get_close_matches(name, known, n=1, cutoff=0.5) or get_close_matches(
        f"{stem}-x{factor}@1", known, n=1, cutoff=0.5
    )
    hint = f" Did you mean {near[0]!r}?" if near else ""
    families = ", ".join(protocol_families())
    return f"{hint} Known: {families}, with N from 1 to {LARGEST_FACTOR}."
