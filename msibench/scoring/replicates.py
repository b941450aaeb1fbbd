"""What a statistic takes as drawn anew: specimens, else their sections, else ion images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MINIMUM_SECTIONS = 5
"""Below this number of specimens an interval does not hold for others; below this number of sections, not
for other sections of the same specimens either."""
MINIMUM_FREEDOM = 4
"""Images beyond one per section that an interval inside fixed sections needs."""
SECTIONS, SAME_SPECIMENS, IMAGES = "sections", "same specimens", "images"
"""What an interval holds for: other sections of the kind, of whatever specimen; other sections of the very
same specimens; other ion images of the very same sections."""

Names = Sequence[object] | NDArray[np.generic]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Replicates:
    """Sections and specimens behind every column of a table of images, and which of them are drawn."""

    images: NDArray[np.intp]
    """Images with a value, ``(column,)``, as all that follows."""
    sections: NDArray[np.intp]
    specimens: NDArray[np.intp]
    over_specimens: NDArray[np.bool_]
    """Enough specimens: the interval holds for other sections of the kind."""
    over_sections: NDArray[np.bool_]
    """Enough sections of too few specimens: it holds for other sections of these specimens."""
    over_images: NDArray[np.bool_]
    """Neither, and enough images: it holds for other ion images of these sections."""

    @classmethod
    def of(
        cls, defined: NDArray[np.bool_], section: NDArray[np.intp], specimen: NDArray[np.intp]
    ) -> Replicates:
        """Count what stands behind ``(image, column)`` values that are defined or not."""
        images = defined.sum(axis=0)
        sections, specimens = (_groups_behind(defined, number) for number in (section, specimen))
        over_specimens = specimens >= MINIMUM_SECTIONS
        over_sections = ~over_specimens & (sections >= MINIMUM_SECTIONS)
        neither = ~over_specimens & ~over_sections
        return cls(
            images=images.astype(np.intp),
            sections=sections,
            specimens=specimens,
            over_specimens=over_specimens,
            over_sections=over_sections,
            over_images=neither & (images - sections >= MINIMUM_FREEDOM),
        )

    def scopes(self) -> NDArray[np.str_]:
        """Return what each column's interval holds for; empty where there can be none."""
        chosen = [self.over_specimens, self.over_sections, self.over_images]
        return np.select(chosen, [SECTIONS, SAME_SPECIMENS, IMAGES], default="")

    def notes(self) -> NDArray[np.str_]:
        """Return `few_replicates` of every column."""
        counts = zip(self.specimens, self.sections, self.images, strict=True)
        return np.array([few_replicates(*map(int, each)) for each in counts], dtype="<U112")


def numbers_of(
    values: NDArray[np.float64], sections: Names, specimens: Names | None = None
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the number of each image's section and of its specimen, by sorted name.

    Parameters
    ----------
    values
        ``(image,)`` or ``(image, column)``.
    sections, specimens
        One name per image. Without specimens each section is one; where no specimen has two sections, the
        numbers of the sections stand for both.

    Raises
    ------
    ValueError
        If the values have other axes, there is not one name per image, or a section is of two specimens.
    """
    section = np.unique(np.asarray(sections).astype(str), return_inverse=True)[1]
    if values.ndim not in (1, 2) or len(section) != len(values):
        raise ValueError(
            "values must be (image,) or (image, column) with one section name per image: got shape "
            f"{values.shape} and {len(section)} names"
        )
    if specimens is None:
        return section, section
    specimen = np.unique(np.asarray(specimens).astype(str), return_inverse=True)[1]
    if len(specimen) != len(section):
        raise ValueError(f"{len(specimen)} specimens for {len(section)} images")
    pairs = len(np.unique(np.stack([section, specimen]), axis=1).T)
    count = len(np.unique(section))
    if pairs != count:
        raise ValueError("a section is of two specimens; it is cut from one")
    return section, section if len(np.unique(specimen)) == count else specimen


def few_replicates(specimens: int, sections: int, images: int) -> str:
    """Return a caveat on an interval over few specimens; empty where there are enough."""
    if not images:
        return "no defined value"
    if specimens >= MINIMUM_SECTIONS:
        return ""
    if sections >= MINIMUM_SECTIONS:
        return (
            f"too few specimens ({specimens} < {MINIMUM_SECTIONS}): the interval holds for sections "
            "of these specimens only"
        )
    few = f"too few sections ({sections} < {MINIMUM_SECTIONS})"
    if images - sections >= MINIMUM_FREEDOM:
        return f"{few}: the interval holds for ion images of these sections only"
    return f"{few} and too few images ({images}) for an interval"


def per_group(values: NDArray[np.float64], sizes: NDArray[np.intp]) -> NDArray[np.float64]:
    """Sum rows that are sorted by group, ``(group, column)``."""
    edges = np.concatenate([[0], np.cumsum(sizes)])[:-1]
    return np.asarray(np.add.reduceat(values, edges, axis=0))


def _groups_behind(defined: NDArray[np.bool_], number: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return how many groups have a defined value, ``(column,)``."""
    order = np.argsort(number, kind="stable")
    behind = per_group(defined[order].astype(np.float64), np.bincount(number))
    return np.asarray((behind > 0).sum(axis=0), dtype=np.intp)
