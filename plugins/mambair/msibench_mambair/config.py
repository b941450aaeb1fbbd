"""Published files of the plugin, under names that say what they are; no torch here."""

from __future__ import annotations

from collections.abc import Mapping

from msibench import WeightFile

_HUB = "https://huggingface.co/cguoh/MambaIR/resolve/main/MambaIRv1_ckpt/"
_HOW = (
    "Take it from the authors' folder on Hugging Face (cguoh/MambaIR) or Google Drive, both linked in "
    "the README of github.com/csguoh/MambaIR; the published name may differ."
)
_LICENCE = "Apache-2.0"


def _file(name: str, trained_on: str, *, published: bool = False) -> WeightFile:
    url = _HUB + name if published else ""
    return WeightFile(name=name, url=url, how=_HOW, licence=_LICENCE, trained_on=trained_on)


_DIV2K = "DIV2K: 800 photographs, antialiased bicubic"
_DF2K = "DIV2K + Flickr2K: 3450 photographs, antialiased bicubic"

FILES: Mapping[str, Mapping[int, WeightFile]] = {
    "light": {factor: _file(f"MambaIR_lightSRx{factor}.pth", _DIV2K) for factor in (2, 3, 4)},
    "sr": {
        factor: _file(f"MambaIR_classicSRx{factor}.pth", _DF2K, published=factor == 4)
        for factor in (2, 3, 4)
    },
    "real": {
        4: _file("MambaIR-real.pth", "photographs, HAT's two-stage Real-ESRGAN degradation"),
    },
}
"""Variant → factor → file."""

TITLES: Mapping[str, str] = {
    "light": "0.9 M parameters, L1, photographs",
    "sr": "20.6 M parameters, L1, photographs",
    "real": "20.6 M parameters, photographs with mixed degradations",
}
"""Variant → what the leaderboard adds to the name."""
MEMORY_GB: Mapping[str, float] = {"light": 4.0, "sr": 10.0, "real": 10.0}
