"""What the harness needs to know about every built-in metric, without importing any of them."""

from __future__ import annotations

from msibench.contracts.metric import NOT_NEGATIVE, UP_TO_ONE, MetricSpec
from msibench.metrics.detail_specs import DETAIL_METRICS
from msibench.metrics.trust_specs import TRUST_METRICS

REFERENCE_METRICS: tuple[MetricSpec, ...] = (
    MetricSpec(
        name="psnr",
        version=1,
        target="msibench.metrics.psnr:psnr",
        direction="higher",
        unit="dB",
        title="Peak signal-to-noise ratio",
        label="PSNR (dB)",
        undefined=("test and reference are identical: the ratio is infinite",),
    ),
    MetricSpec(
        name="ssim",
        bounds=(-1.0, 1.0),
        version=2,
        target="msibench.metrics.ssim:ssim",
        direction="higher",
        title="Structural similarity (Wang 2004)",
        citation="Wang et al., IEEE Trans. Image Process. 13 (2004) 600-612",
        label="SSIM",
        undefined=(
            "the image is smaller than the 11 x 11 window",
            "no window that lies inside the image has its centre in the mask",
        ),
    ),
    MetricSpec(
        name="vif",
        bounds=NOT_NEGATIVE,
        version=1,
        target="msibench.metrics.vif:vif",
        direction="higher",
        title="Visual information fidelity (wavelet domain)",
        citation="Sheikh and Bovik, IEEE Trans. Image Process. 15 (2006) 430-444",
        label="VIF",
        undefined=(
            "the reference is constant: it carries no information",
            "neighbouring wavelet coefficients of the reference depend on one another (it "
            "varies along one direction only): their covariance cannot be inverted",
        ),
    ),
    MetricSpec(
        name="vifp",
        bounds=NOT_NEGATIVE,
        version=1,
        target="msibench.metrics.vifp:vifp",
        direction="higher",
        title="Visual information fidelity (pixel domain)",
        citation="Sheikh and Bovik, IEEE Trans. Image Process. 15 (2006) 430-444",
        label="VIFp",
        undefined=(
            "the image is smaller than 41 pixels: the coarsest scale has no window",
            "the reference is constant: it carries no information",
        ),
    ),
    MetricSpec(
        name="sd_ratio",
        bounds=NOT_NEGATIVE,
        version=1,
        target="msibench.metrics.sd_ratio:sd_ratio",
        direction="one",
        title="Ratio of standard deviations (SD)",
        citation="Cao et al. (2025), supporting information",
        label="SD",
        undefined=("the reference is constant: its standard deviation is 0",),
    ),
    MetricSpec(
        name="nqm",
        version=1,
        target="msibench.metrics.nqm:nqm",
        direction="higher",
        unit="dB",
        title="Noise quality measure",
        citation="Damera-Venkata et al., IEEE Trans. Image Process. 9 (2000) 636-650",
        label="NQM (dB)",
        undefined=(
            "the reference has no visible detail: the ratio is minus infinity",
            "the test has no visible error: the ratio is infinite",
            "neither image has visible detail: the ratio is 0/0",
        ),
    ),
    MetricSpec(
        name="dists",
        bounds=NOT_NEGATIVE,
        version=1,
        target="msibench.metrics.dists:dists",
        direction="lower",
        params={"dtype": "float32"},
        largest_image=1 << 21,
        weights=("vgg16", "dists"),
        title="Deep image structure and texture similarity",
        citation="Ding et al., IEEE Trans. Pattern Anal. Mach. Intell. 44 (2022) 2567-2581",
        label="DISTS",
        undefined=(
            "the image is smaller than 16 pixels: the deepest stage has less than one left",
        ),
    ),
    MetricSpec(
        name="rmse",
        bounds=NOT_NEGATIVE,
        version=1,
        target="msibench.metrics.rmse:rmse",
        direction="lower",
        unit="of data range",
        title="Root mean squared error",
        label="RMSE",
        digits=4,
    ),
    MetricSpec(
        name="mse",
        bounds=NOT_NEGATIVE,
        version=1,
        target="msibench.metrics.mse:mse",
        direction="lower",
        unit="of data range²",
        title="Mean squared error",
        label="MSE",
        digits=5,
    ),
    MetricSpec(
        name="r2",
        bounds=UP_TO_ONE,
        version=1,
        target="msibench.metrics.r2:r2",
        direction="higher",
        title="Coefficient of determination",
        label="R²",
        undefined=("the reference is constant: it has no variance to explain",),
    ),
    MetricSpec(
        name="lpips",
        bounds=NOT_NEGATIVE,
        version=1,
        target="msibench.metrics.lpips:lpips",
        direction="lower",
        params={"net": "alex", "dtype": "float32"},
        weights=("alexnet", "lpips-alex"),
        title="Learned perceptual image patch similarity (AlexNet)",
        citation="Zhang et al., CVPR (2018) 586-595",
        label="LPIPS",
        undefined=("the image is smaller than the network needs",),
    ),
    MetricSpec(
        name="edge_perceptual_loss",
        bounds=NOT_NEGATIVE,
        version=1,
        target="msibench.metrics.edge_perceptual_loss:edge_perceptual_loss",
        direction="lower",
        title="Edge perceptual loss",
        citation="Zou et al. (2025), loss controlled residual network",
        label="edge perceptual loss",
        digits=4,
        undefined=(
            "the image is smaller than the 3 x 3 kernel",
            "no kernel that lies inside the image has its centre in the mask",
        ),
    ),
    MetricSpec(
        name="perceptual_loss",
        bounds=NOT_NEGATIVE,
        version=1,
        target="msibench.metrics.perceptual_loss:perceptual_loss",
        direction="lower",
        params={"dtype": "float32"},
        largest_image=1 << 21,
        weights=("vgg16",),
        title="Perceptual loss (VGG16 relu3_3)",
        citation="Johnson et al., ECCV (2016) 694-711",
        label="perceptual loss",
        undefined=("the image is smaller than the network needs",),
    ),
)
"""Metrics that compare a test with a reference, in the order in which pages list them.

Networks run in float32, the precision of their weights; everything else in float64.
"""


def builtin_metrics() -> tuple[MetricSpec, ...]:
    """Return every metric of the core: comparisons with a reference, of unseen detail, of trust."""
    return REFERENCE_METRICS + DETAIL_METRICS + TRUST_METRICS
