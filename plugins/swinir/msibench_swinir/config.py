"""Published files of the plugin, under names that say what they are; no torch here."""

from __future__ import annotations

from collections.abc import Mapping

from msibench import WeightFile

_RELEASE = "https://github.com/JingyunLiang/SwinIR/releases/download/v0.0/"
_LICENCE = "Apache-2.0 (the repository's; the release states none of its own)"


def _file(name: str, trained_on: str) -> WeightFile:
    return WeightFile(name=name, url=_RELEASE + name, licence=_LICENCE, trained_on=trained_on)


_DIV2K = "DIV2K: 800 photographs, antialiased bicubic"
_DF2K = "DIV2K + Flickr2K: 3450 photographs, antialiased bicubic"
_DFO = "DIV2K + Flickr2K + OST: photographs, BSRGAN's degradation"
_DFOWMFC = (
    "DIV2K, Flickr2K, OST, WED, FFHQ, Manga109, SCUT-CTW1500: photographs, BSRGAN's degradation"
)

FILES: Mapping[str, Mapping[int, WeightFile]] = {
    "light": {
        factor: _file(f"002_lightweightSR_DIV2K_s64w8_SwinIR-S_x{factor}.pth", _DIV2K)
        for factor in (2, 3, 4)
    },
    "classical-m": {
        factor: _file(f"001_classicalSR_DF2K_s64w8_SwinIR-M_x{factor}.pth", _DF2K)
        for factor in (2, 3, 4, 8)
    },
    "real-m": {
        factor: _file(f"003_realSR_BSRGAN_DFO_s64w8_SwinIR-M_x{factor}_PSNR.pth", _DFO)
        for factor in (2, 4)
    },
    "real-m-gan": {
        factor: _file(f"003_realSR_BSRGAN_DFO_s64w8_SwinIR-M_x{factor}_GAN.pth", _DFO)
        for factor in (2, 4)
    },
    "real-l": {4: _file("003_realSR_BSRGAN_DFOWMFC_s64w8_SwinIR-L_x4_GAN.pth", _DFOWMFC)},
}
"""Variant → factor → file."""

TITLES: Mapping[str, str] = {
    "light": "0.9 M parameters, L1, photographs",
    "classical-m": "11.9 M parameters, L1, photographs",
    "real-m": "11.7 M parameters, L1, photographs with mixed degradations",
    "real-m-gan": "11.7 M parameters, adversarial: may invent detail",
    "real-l": "28 M parameters, adversarial: may invent detail",
}
"""Variant → what the leaderboard adds to the name."""
MEMORY_GB: Mapping[str, float] = {
    "light": 3.0,
    "classical-m": 6.0,
    "real-m": 6.0,
    "real-m-gan": 6.0,
    "real-l": 8.0,
}
