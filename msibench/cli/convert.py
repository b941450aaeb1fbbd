"""``msibench convert``: from any format of a section to any other, or check that a file is valid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from msibench.cli._together import Excludes, option_rules, typed
from msibench.cli._values import (
    WINDOW,
    chosen_mz,
    mz_option,
    peaks_option,
    pixel_size_option,
    ppm_option,
)

if TYPE_CHECKING:
    from msibench.io import ImzMLOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was typed."""

    source: Path
    target: Path | None
    mz_text: str | None
    peaks: int | None
    ppm: float
    pixel_size: float | None
    z: int | None
    duplicates: Any
    reader: Any
    verify: bool
    mode: Any
    clip: float
    check: bool


@click.command(
    name="convert",
    epilog="Example: msibench convert section.imzML section.h5 --mz 798.54,741.53 --ppm 5\n\n"
    "Example: msibench convert section.h5 section.ome.tif\n\n"
    "Example: msibench convert bladder.npz bladder.imzML --pixel-size 10\n\n"
    "Example: msibench convert section.imzML --check --verify",
)
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path), required=False)
@mz_option
@peaks_option
@ppm_option
@pixel_size_option("Edge of a pixel in µm, where the file is silent.")
@click.option("--z", type=int, help="Which slice of an imzML file with several.")
@click.option(
    "--duplicates",
    type=click.Choice(["sum", "first", "last", "error"]),
    help="What holds where several spectra have one position (default: their sum, with a warning).",
)
@click.option(
    "--reader",
    type=click.Choice(["auto", "scan", "xml", "pyimzml"]),
    default="auto",
    show_default=True,
    help="How the XML half of imzML is read; pyimzml is the last resort.",
)
@click.option("--verify", is_flag=True, help="Compare the .ibd file with its checksum first.")
@click.option(
    "--mode",
    type=click.Choice(["continuous", "processed"]),
    default="continuous",
    show_default=True,
    help="How imzML is written.",
)
@click.option("--clip", type=float, default=0.99, show_default=True, help="Quantile, for PNG only.")
@click.option(
    "--check", is_flag=True, help="Write nothing: say what SOURCE is and whether it is valid."
)
@option_rules(
    WINDOW,
    Excludes(
        "--check",
        ("--mz", "--peaks", "--ppm", "--pixel-size", "--mode", "--clip"),
        "it writes nothing",
    ),
)
def command(**given: Any) -> None:
    """Convert a section between imzML, HDF5, npz and OME-TIFF, or draw it as PNG.

    Intensities are never scaled or clipped (a PNG says how it was clipped). What was written is
    read back and compared.
    """
    from msibench.errors import ConfigurationError
    from msibench.io import ImzMLOptions
    from msibench.io.read import kind_of

    options = Options(**given)
    how = ImzMLOptions(
        reader=options.reader,
        z=options.z,
        duplicates=options.duplicates,
        verify=options.verify,
    )
    if options.check or options.target is None:
        _refuse_unread(kind_of(options.source), "")
        if options.target is not None:
            raise ConfigurationError("--check writes nothing: leave TARGET out")
        if not options.check:
            raise ConfigurationError(
                f"name a file to write, for instance: msibench convert {options.source.name} "
                f"{options.source.stem}.h5; or --check to look at {options.source.name} only"
            )
        _describe(options.source, how)
        return
    masses = chosen_mz(options.mz_text, options.peaks, options.ppm, options.source) or None
    _convert(
        options.source,
        options.target,
        masses,
        options.ppm,
        options.pixel_size,
        how,
        options.mode,
        options.clip,
    )


def _refuse_unread(source: str, target: str) -> None:
    """Raise if an option was typed that says something of imzML or PNG alone."""
    given = typed()
    for options, kind, here, words in (
        (
            ("--z", "--duplicates", "--reader", "--verify"),
            "imzml",
            source,
            "says how imzML is read",
        ),
        (("--mode",), "imzml", target, "says how imzML is written"),
        (("--clip",), "png", target, "is for PNG"),
    ):
        for option in options if here != kind else ():
            if option in given:
                raise click.UsageError(f"{option} {words}, and this is {here}; leave it out")


def _convert(
    source: Path,
    target: Path,
    masses: tuple[float, ...] | None,
    ppm: float,
    pixel_size: float | None,
    how: ImzMLOptions,
    mode: Any,
    clip: float,
) -> None:
    from msibench import __version__
    from msibench.errors import ConfigurationError
    from msibench.io import read_section, write_image
    from msibench.io.export import format_of
    from msibench.io.read import kind_of

    if target.exists() and target.resolve() == source.resolve():
        raise ConfigurationError(f"{target} is the source itself; choose another name")
    kind = format_of(target)
    _refuse_unread(kind_of(source), kind)
    image = read_section(source, mz=masses, ppm=ppm, pixel_size_um=pixel_size, imzml=how)
    provenance: dict[str, object] = {
        "msibench": __version__,
        "source": source.name,
        "source_format": kind_of(source),
        "mz": None if masses is None else list(masses),
        "ppm": ppm if masses is not None else None,
        **{
            name: value
            for name in ("reader", "z", "duplicates", "verify")
            if (value := getattr(how, name))
        },
    }
    polarity = None
    if kind_of(source) == "imzml":
        section = replace(how, verify=False).open(source)
        provenance["uuid"] = section.uuid
        provenance["polarity"] = section.polarity
        polarity = section.polarity if section.polarity != "mixed" else None
    written = write_image(
        target, image, provenance=provenance, polarity=polarity, mode=mode, clip=clip
    )
    if kind != "png":
        _compare(target, image)
    rows, columns = image.shape
    size = (
        "unknown" if image.pixel_size_um != image.pixel_size_um else f"{image.pixel_size_um:g} µm"
    )
    click.echo(
        f"{image.channels} ion images of {rows} x {columns} pixels (pixel size {size}) -> "
        + ", ".join(str(path) for path in written)
    )


def _compare(target: Path, image: Any) -> None:
    """Read what was written, and refuse a file that does not give the same images."""
    import warnings

    import numpy as np

    from msibench.errors import IntegrityError
    from msibench.io import ImzMLOptions, read_section, validate_hdf5
    from msibench.io.export import format_of

    if format_of(target) == "hdf5" and (problems := validate_hdf5(target)):
        raise IntegrityError(f"{target} breaks the schema: {'; '.join(problems)}")
    mz, ppm = None, 5.0
    expected = image
    if format_of(target) == "imzml":
        order = np.argsort(image.mz, kind="stable")
        mz, ppm = image.mz[order], 0.0
        expected = image.select([int(channel) for channel in order])
        if np.unique(image.mz).size < image.channels:
            return  # channels of one m/z merge in a spectrum
    with warnings.catch_warnings():  # what is odd about the images was said when they were written
        warnings.simplefilter("ignore")
        again = read_section(target, mz=mz, ppm=ppm, imzml=ImzMLOptions(cache=False))
    wanted = expected.values
    if format_of(target) == "imzml":  # which has no spectrum outside the mask, and no NaN
        mask = True if image.mask is None else image.mask
        wanted = np.where(mask & ~np.isnan(wanted), wanted, 0)
    same = again.shape == image.shape and np.array_equal(again.values, wanted, equal_nan=True)
    if not same:
        raise IntegrityError(
            f"{target}: what was written does not give the same images when it is read back; "
            "the disk may be full or faulty. Write it again elsewhere."
        )


def _describe(source: Path, how: ImzMLOptions) -> None:
    from msibench.errors import DataError
    from msibench.io import read_section, validate_hdf5
    from msibench.io.read import kind_of

    kind = kind_of(source)
    if kind == "imzml":
        section = how.open(source)
        low, high = section.mz_range
        rows, columns = section.shape
        click.echo(f"{source.name}: imzML, {section.mode}, {len(section)} spectra")
        click.echo(
            f"  pixels         {rows} x {columns}, {int(section.mask.sum())} with a spectrum"
        )
        click.echo(f"  pixel size     {section.pixel_size_um:g} µm")
        click.echo(f"  m/z            {low:.4f} to {high:.4f}")
        click.echo(f"  polarity       {section.polarity or 'not given'}")
        click.echo(
            f"  spectra are    {section.spectrum_mode or 'not said to be centroid or profile'}"
        )
        click.echo(f"  UUID           {section.uuid or 'none'}")
        for note in section.notes:
            click.echo(f"  note: {note}")
        return
    if kind == "hdf5" and (problems := validate_hdf5(source)):
        raise DataError(f"{source.name} breaks the schema: {'; '.join(problems)}")
    image = read_section(source)
    rows, columns = image.shape
    click.echo(f"{source.name}: {kind}, {image.channels} ion images of {rows} x {columns} pixels")
    click.echo(f"  pixel size     {image.pixel_size_um:g} µm")
    click.echo("  valid")
