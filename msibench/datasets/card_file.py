"""Reading a card from its file, ``card.toml``, with every key checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from msibench.contracts.dataset import DatasetSpec
from msibench.contracts.tables import (
    check_keys,
    check_plain_name,
    check_table,
    check_types,
    fields_of,
    read_table,
)
from msibench.datasets.card import Card, CardFile, MZSet, Repeat
from msibench.errors import ConfigurationError

CARD_SCHEMA = 1
READ_APART = {
    "folder", "files", "repeats", "mz_sets", "train", "test", "specimens", "reader", "local_files",
}  # fmt: skip
"""Fields of a `Card` that are not plain values of its table."""


def load_card(spec: DatasetSpec) -> Card:
    """Read and check the card of one data set.

    Raises
    ------
    ConfigurationError
        If the card has a key that does not exist, or lacks one that must be there; the message
        names the card, the key and the nearest known one.
    """
    table = read_table(spec.card)
    return card_from_table(table, folder=spec.card.parent, reader=spec.reader)


def card_from_table(table: Mapping[str, Any], *, folder: Path, reader: str = "") -> Card:
    """Make a card from parsed TOML, checking every key."""
    remaining = dict(check_table(table, "a card"))
    name = check_plain_name(remaining.setdefault("name", folder.name), "a card's name")
    where = f"card of {name!r}"
    schema = remaining.pop("schema_version", None)
    if schema != CARD_SCHEMA:
        raise ConfigurationError(
            f"{where}: schema_version must be {CARD_SCHEMA}, got {schema!r}; "
            "a newer card needs a newer msibench"
        )
    sections = remaining.pop("sections", {})
    check_keys(sections, {"train", "test"}, f"{where}, [sections]")
    named = check_types(sections, Card, f"{where}, [sections]")
    mz_sets = _mz_sets(remaining, where)
    files = tuple(
        CardFile(**_checked(value, CardFile, f"{where}, [[files]]"))
        for value in _tables(remaining, "files", where)
    )
    repeats = tuple(_repeat(value, where) for value in _tables(remaining, "repeats", where))
    for file in files:
        check_plain_name(
            file.name, f"{where}: file name", folders=True, home="the data set's folder"
        )
    listed = (*named.get("train", ()), *named.get("test", ()))
    for section in listed:
        check_plain_name(section, f"{where}: section")
    specimens = check_specimens(
        remaining.pop("specimens", {}), set(listed), f"{where}, [specimens]"
    )
    published = _published(remaining, folder, where)
    values = _checked(remaining, Card, where, skip=READ_APART)
    return Card(
        **values,
        folder=folder,
        files=files,
        repeats=repeats,
        mz_sets=mz_sets,
        train=named.get("train", ()),
        test=named.get("test", ()),
        specimens=specimens,
        reader=reader,
        published=published,
    )


def check_specimens(
    table: object, sections: Collection[str], where: str
) -> dict[str, tuple[str, ...]]:
    """Return specimen → sections, or raise: each names some of `sections`, and no section is of two."""
    found: dict[str, tuple[str, ...]] = {}
    owner: dict[str, str] = {}
    for name, cut in check_table(table, where).items():
        check_plain_name(name, f"{where}: specimen")
        if not isinstance(cut, list | tuple) or not cut:
            raise ConfigurationError(f"{where}: {name} must be a list of sections, got {cut!r}")
        for section in cut:
            if section not in sections:
                raise ConfigurationError(f"{where}: {name} has {section!r}, which [sections] lacks")
            if owner.setdefault(section, name) != name:
                raise ConfigurationError(
                    f"{where}: section {section!r} is of {owner[section]} and of {name}; a section is "
                    "cut from one specimen"
                )
        found[name] = tuple(cut)
    if clash := (set(sections) - owner.keys()) & found.keys():
        raise ConfigurationError(
            f"{where}: {', '.join(sorted(clash))} is also the name of a section that is cut from another "
            "specimen; give the specimen a name of its own"
        )
    return found


def _mz_sets(remaining: dict[str, Any], where: str) -> dict[str, MZSet]:
    """Take the m/z sets out of a card; without any, every channel."""
    tables = check_table(remaining.pop("mz_sets", {"all": {}}), f"{where}, [mz_sets]")
    return {
        name: MZSet(
            name=name, **_checked(value, MZSet, f"{where}, [mz_sets.{name}]", skip={"name"})
        )
        for name, value in tables.items()
    }


def _published(remaining: dict[str, Any], folder: Path, where: str) -> Path | None:
    """Take the file of published scores out of a card."""
    published = remaining.pop("published", None)
    if published is None:
        return None
    check_plain_name(published, f"{where}: published must be a file beside it")
    if (folder / published).is_symlink():
        raise ConfigurationError(
            f"{where}: published = {published!r} is a link; put the file itself beside the card"
        )
    return folder / str(published)


def _checked(
    table: Mapping[str, Any], kind: type, where: str, skip: set[str] | None = None
) -> dict[str, Any]:
    """Return the keyword arguments for a dataclass, lists as tuples, types checked."""
    check_keys(table, fields_of(kind) - (skip or set()), where)
    required = {
        f.name
        for f in dataclasses.fields(kind)
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    } - (skip or set())
    if missing := required - table.keys():
        raise ConfigurationError(f"{where}: missing {', '.join(sorted(missing))}")
    return check_types(table, kind, where)


def _tables(remaining: dict[str, Any], key: str, where: str) -> list[Any] | tuple[Any, ...]:
    """Take a list of tables out of a card."""
    listed = remaining.pop(key, [])
    if not isinstance(listed, list | tuple):
        raise ConfigurationError(f"{where}: {key} must be tables [[{key}]]")
    return listed


def _repeat(table: Mapping[str, Any], where: str) -> Repeat:
    where = f"{where}, [[repeats]]"
    repeat = Repeat(**_checked(table, Repeat, where))
    if len(repeat.mz) != 2 or repeat.mz[0] == repeat.mz[1]:
        raise ConfigurationError(f"{where}: mz must be two different m/z, got {list(repeat.mz)}")
    return repeat
