"""Names and directions of the packages' full-reference metrics, so that listing imports neither."""

from __future__ import annotations

from collections.abc import Mapping

from msibench.contracts.metric import Direction

PIQ: Mapping[str, Direction] = {
    "psnr": "higher",
    "ssim": "higher",
    "multi_scale_ssim": "higher",
    "information_weighted_ssim": "higher",
    "vif_p": "higher",
    "fsim": "higher",
    "srsim": "higher",
    "vsi": "higher",
    "dss": "higher",
    "haarpsi": "higher",
    "gmsd": "lower",
    "multi_scale_gmsd": "lower",
    "mdsi": "lower",
    "lpips": "lower",
    "dists": "lower",
    "pieapp": "lower",
    "content_loss": "lower",
    "style_loss": "lower",
}
"""Of piq 0.8."""

PYIQA: Mapping[str, Direction] = {
    "ahiq": "higher",
    "ckdn": "higher",
    "lpips": "lower",
    "lpips-vgg": "lower",
    "lpips+": "lower",
    "lpips-vgg+": "lower",
    "stlpips": "lower",
    "stlpips-vgg": "lower",
    "dists": "lower",
    "deepdc": "lower",
    "ssim": "higher",
    "ssimc": "higher",
    "psnr": "higher",
    "psnry": "higher",
    "fsim": "higher",
    "ms_ssim": "higher",
    "vif": "higher",
    "gmsd": "lower",
    "nlpd": "lower",
    "vsi": "higher",
    "cw_ssim": "higher",
    "mad": "lower",
    "pieapp": "lower",
    "topiq_fr": "higher",
    "topiq_fr-pipal": "higher",
    "wadiqam_fr": "higher",
    "msswd": "lower",
    "dmm": "higher",
    "afine_fr": "lower",
    "afine_all_scale": "lower",
    "afine_all": "lower",
}
"""Of pyiqa 0.1.16, without ``fgresq_pair``, which ranks two images instead of scoring one."""
