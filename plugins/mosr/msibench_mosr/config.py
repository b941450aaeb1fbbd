"""Published files of the plugin; no torch here."""

from __future__ import annotations

from collections.abc import Mapping

from msibench import WeightFile

FILES: Mapping[str, Mapping[int, WeightFile]] = {
    "mosr": {
        4: WeightFile(
            name="MOSR_x4.pth",
            licence="Apache-2.0 (code); the release states none of its own for the weights",
            trained_on=(
                "about 15,000 optical images, then ten mass spectrometry images of high resolution "
                "(Liao et al. 2023, abstract); which ones is not stated"
            ),
            how=(
                "Download the checkpoint from release v2.0.0 of github.com/USTC-xlab/MOSR (or the "
                "Zenodo record that it names); its file name is not documented."
            ),
        )
    }
}
"""Variant → factor → file."""
