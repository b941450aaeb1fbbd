"""One section of a data set, read from its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from msibench.datasets.card import Card, CardFile, MZSet
from msibench.datasets.files import find_file
from msibench.datasets.guide_grid import guide_on_grid
from msibench.errors import ConfigurationError, MissingDataError, UnknownNameError
from msibench.image import GuideImage, MSImage
from msibench.plugin_manager import resolve_target


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Section:
    """One section as it was measured (or made), on its own grid."""

    dataset: str
    name: str
    image: MSImage
    guide: GuideImage | None = None
    second: MSImage | None = None
    middle: MSImage | None = None
    counts_per_unit: NDArray[np.float64] | None = None
    """Ion counts per intensity unit, ``(channel,)``, where they are known."""
    noise_free: NDArray[np.float32] | None = None
    """The signal without counting noise, ``(channel, row, column)``; synthetic sections only."""
    uncharted: NDArray[np.float32] | None = None
    """Structures of the guide without chemical counterpart, ``(row, column)``; synthetic only."""
    tic: NDArray[np.float64] | None = None
    """Total ion count of each pixel's whole spectrum, ``(row, column)``, where requested and the data have whole
    spectra."""
    notes: tuple[str, ...] = ()


def read_section(
    card: Card,
    section: str,
    mz_set: str | MZSet = "",
    *,
    lazily: bool = False,
    with_tic: bool = False,
) -> Section:
    """Read one section with the ion images of one m/z set.

    Parameters
    ----------
    card
        The data set.
    section
        Name of the section, one of ``card.sections``.
    mz_set
        Name of an m/z set of the card; empty: the default. Or a set of your own: a data set's own reader
        is told of it, so that a map that is not asked for can be the guide; of files that the core reads,
        ions are chosen among those of the default set.
    lazily
        Leave a large stack in its file where the format allows it (`msibench.io.stored_stack`).
    with_tic
        Read the total ion count of every whole spectrum, too, where the file has spectra (imzML).

    Raises
    ------
    UnknownNameError, MissingDataError, IntegrityError, DataError
    """
    if section not in card.sections:
        near = get_close_matches(section, card.sections, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UnknownNameError(
            f"Data set {card.name!r} has no section {section!r}.{hint} "
            f"It has {', '.join(card.sections)}."
        )
    own = mz_set if isinstance(mz_set, MZSet) else None
    listed = card.mz_set((not own and str(mz_set)) or card.default_mz_set)
    chosen = own or listed
    if card.bring_your_own:
        wanted = card.files[0].how if card.files else "your own file"
        raise MissingDataError(
            f"The measurements of {card.name!r} are not public: {wanted}. Then run with --data FILE."
        )
    if card.reader:
        found: Section = resolve_target(card.reader)(card, section, chosen)
        return select_mz(found, chosen)
    return select_mz(_read_plain(card, section, listed, lazily, with_tic), chosen)


def _read_plain(card: Card, section: str, mz_set: MZSet, lazily: bool, with_tic: bool) -> Section:
    """Read a section whose files the core's own readers understand."""
    from msibench.io import read as io_read

    by_role = {file.role: file for file in card.files_of(section)}
    if "section" not in by_role:
        raise ConfigurationError(
            f"card of {card.name!r}: section {section!r} has no file with role 'section'"
        )
    path = find_file(card, by_role["section"])
    image = io_read.read_section(
        path,
        mz=list(mz_set.mz) or None,
        ppm=mz_set.ppm,
        pixel_size_um=None if np.isnan(card.pixel_size_um) else card.pixel_size_um,
        lazily=lazily,
        absent="zero" if len(card.sections) > 1 else "error",
    )
    image = replace(image, unit=card.unit)
    guide = None
    if "guide" in by_role:
        guide = _read_guide(card, by_role, image)
    tic = io_read.read_tic(path) if with_tic else None
    found = Section(dataset=card.name, name=section, image=image, guide=guide, tic=tic)
    return select_mz(found, mz_set)


def _read_guide(card: Card, by_role: Mapping[str, CardFile], image: MSImage) -> GuideImage:
    """Read the optical image of a card and bring it onto the grid of the ion images."""
    transform = find_file(card, by_role["affine"]) if "affine" in by_role else None
    path = find_file(card, by_role["guide"])
    level = card.parameters.get("guide_level")
    return guide_on_grid(
        path,
        transform,
        image.shape,
        1,
        image.pixel_size_um,
        level=level if isinstance(level, int) else None,
    )


def select_mz(section: Section, mz_set: MZSet) -> Section:
    """Keep the channels of the m/z set, in every array that has channels."""
    image = section.image
    if not mz_set.mz or (
        image.channels == len(mz_set.mz) and np.array_equal(image.mz, np.asarray(mz_set.mz))
    ):
        return section
    from msibench.io.channel_choice import choose_channels

    chosen = choose_channels(image, mz_set.mz, mz_set.ppm, section.dataset)
    kept = [int(np.nanargmin(np.abs(image.mz - value))) for value in chosen.mz]
    return replace(
        section,
        image=replace(chosen, ppm=mz_set.ppm),
        counts_per_unit=None if section.counts_per_unit is None else section.counts_per_unit[kept],
        noise_free=None if section.noise_free is None else section.noise_free[kept],
    )
