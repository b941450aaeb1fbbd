"""A user's own sections as a track of their own."""

from __future__ import annotations

from pathlib import Path

from msibench.contracts.plain_text import few_of
from msibench.datasets import Card
from msibench.errors import ConfigurationError
from msibench.runner.own_section import plain_name
from msibench.tracks import Own, ProblemSet, Track, load_shipped

MEASURES_OF = "bladder-fusion-x4"
"""The shipped track whose metrics apply to a user's own sections."""
GUIDE_CONTROLS = ("guide-shuffled",)
"""Wrong guides of a user's own section, where it has a guide and none are named."""


def own_track(
    own: Own,
    card: Card,
    protocols: tuple[str, ...],
    *,
    controls: tuple[str, ...] | None = None,
    name: str = "",
) -> Track:
    """Make a track of a user's own sections.

    Parameters
    ----------
    own, card
        The files and how they are read, and what `own_card` made of them.
    protocols
        How coarse images are made of them.
    controls
        Wrong guides that fusion methods are run with besides the true one; None: `GUIDE_CONTROLS`
        where there is a guide.
    name
        Of the track; empty: that of the file, of the folder, or of the card.

    Raises
    ------
    ConfigurationError
        If wrong guides are asked for and there is no true one.
    """
    if controls and not own.guide:
        raise ConfigurationError(
            f"--controls {','.join(controls)}: wrong guides replace a true one; give it with --guide"
        )
    if controls is None:
        controls = GUIDE_CONTROLS if own.guide else ()
    return Track(
        name=name or plain_name(card.name),
        title=card.title,
        description="Coarse ion images are made from your own "
        + ("sections; the sections are" if len(card.test) > 1 else "section; the section is")
        + f" the truth. {_described(own, card)}.{_specimens(card)}",
        problems=(ProblemSet(dataset=card.name, protocols=protocols),),
        metrics=load_shipped(MEASURES_OF).metrics,
        guide_controls=controls,
        own=own,
    )


def _specimens(card: Card) -> str:
    """Say which of several sections are replicates."""
    if len(card.test) < 2:
        return ""
    if not card.specimens:
        return (
            " Each section is counted as a specimen of its own: where several were cut from one animal, biopsy or "
            "preparation, say so with --specimen, or intervals and ranks promise too much."
        )
    cut = "; ".join(f"{name}: {few_of(sections)}" for name, sections in card.specimens.items())
    return f" Cut from one specimen: {cut}."


def _described(own: Own, card: Card) -> str:
    """Describe the experiment: a second board of the same section differs in this."""
    mz = card.mz_set(card.default_mz_set).mz
    ions = (
        f"m/z {few_of((f'{value:g}' for value in mz), shown=4)} (± {own.ppm:g} ppm)"
        if mz
        else "All channels of the file"
    )
    guides = ", ".join(Path(name).name for name in own.guide)
    parts = [ions, f"guide {guides}" if guides else "no guide"]
    if own.transform:
        parts.append(f"brought onto it by {', '.join(Path(name).name for name in own.transform)}")
    return "; ".join(parts)
