"""Data-set cards: look up, verify, read one section.

A card (``card.toml``) describes a data set; pixels stay where they are until a section is read. A section is
what the runner works on: the fine ion images and whatever is known beside them.
"""

from msibench.datasets.card import Card, CardFile, MZSet, Repeat
from msibench.datasets.card_file import card_from_table, load_card
from msibench.datasets.digest import dataset_digest
from msibench.datasets.files import download_folder, file_digest, find_file, open_unpacked
from msibench.datasets.guide_grid import guide_on_grid
from msibench.datasets.section import Section, read_section, select_mz

__all__ = [
    "Card",
    "CardFile",
    "MZSet",
    "Repeat",
    "Section",
    "card_from_table",
    "dataset_digest",
    "download_folder",
    "file_digest",
    "find_file",
    "guide_on_grid",
    "load_card",
    "open_unpacked",
    "read_section",
    "select_mz",
]
