"""What is known about a data set before any pixel is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msibench.errors import UnknownNameError


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFile:
    """One file of a data set."""

    name: str
    role: str
    """``section``, ``guide``, ``affine``, ``mask``, ``second``, ``middle``, ``ibd``, ``licence``, ``other``."""
    section: str = ""
    """The section that it belongs to; empty: all."""
    url: str = ""
    sha256: str = ""
    size: int | None = None
    how: str = ""
    """How to get the file when it has no address of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MZSet:
    """Named m/z values that a data set is tested on."""

    name: str
    mz: tuple[float, ...] = ()
    """Empty: every channel that the section has."""
    ppm: float = 5.0
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """Two ion images of one substance, each measured with its own noise."""

    mz: tuple[float, ...]
    """The two, in Da."""
    what: str = ""
    """Why they show the same, e.g. ``"two isotopes of zinc"``."""
    shared_noise: str = ""
    """What the two measurements share beside the signal; a ceiling from them is then an upper bound."""
    sections: tuple[str, ...] = ()
    """Where it holds; empty: every section, to be tested before it is used."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Card:
    """What is known about a data set before any pixel is read."""

    name: str
    title: str
    folder: Path
    tissue: str = ""
    polarity: str = "not stated"
    instrument: str = ""
    pixel_size_um: float = float("nan")
    unit: str = "arbitrary"
    declared_range: float | None = None
    """The full scale of the stored intensities (255 for 8-bit data); None: scaled per ion image."""
    counts: bool = False
    """Intensities are ion counts, so that Poisson statistics hold."""
    synthetic: bool = False
    ground_truth: bool = True
    """Whether the sections are fine-grid measurements that a prediction can be scored against."""
    bring_your_own: bool = False
    """The files are the user's own: ``--data FILE`` names them."""
    licence: str = ""
    citation: str = ""
    bibtex: str = ""
    description: str = ""
    tasks: tuple[str, ...] = ("single-image",)
    protocols: tuple[str, ...] = ()
    factor: int | None = None
    """The one factor of a data set without ground truth."""
    files: tuple[CardFile, ...] = ()
    mz_sets: Mapping[str, MZSet] = field(default_factory=dict)
    repeats: tuple[Repeat, ...] = ()
    default_mz_set: str = "all"
    train: tuple[str, ...] = ()
    """In ``[sections]``: those that methods may learn from."""
    test: tuple[str, ...] = ()
    """In ``[sections]``: those that are scored."""
    specimens: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Animal, biopsy or preparation → its sections, where some have several: these are no independent
    replicates. A section that none names is a specimen of its own."""
    reader: str = ""
    published: Path | None = None
    """A table of published scores, shown beside measured ones and never mixed with them."""
    published_source: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Options of the reader."""
    local_files: Mapping[str, Path] = field(default_factory=dict)
    """A user's own files by name; their location never enters a key."""

    @property
    def sections(self) -> tuple[str, ...]:
        """Every section: those to train on, then those to test on."""
        return (*self.train, *(name for name in self.test if name not in self.train))

    def mz_set(self, name: str) -> MZSet:
        """Return the m/z set called `name`, or raise and list those that exist."""
        if name not in self.mz_sets:
            raise UnknownNameError(
                f"Data set {self.name!r} has no m/z set {name!r}; it has "
                f"{', '.join(sorted(self.mz_sets))}."
            )
        return self.mz_sets[name]

    def specimen_of(self, section: str) -> str:
        """Return the specimen that a section was cut from; the section's own name where the card says nothing."""
        return next((name for name, cut in self.specimens.items() if section in cut), section)

    def files_of(self, section: str) -> tuple[CardFile, ...]:
        """Return the files that one section is read from."""
        return tuple(file for file in self.files if file.section in {"", section})
