"""What the harness needs to know about the measures of trust, without importing any of them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from msibench.contracts.metric import NOT_NEGATIVE, SHARE, Direction, MetricSpec
from msibench.metrics.detail_specs import NO_DETAIL, NO_SPLIT, of_ion_images

NO_INTERVAL = "the method tells no interval"
NOTHING_TOLD = "the method tells no interval for this ion image"
NOT_ASKED = "the track asks for no interval of the harness (intervals)"
NOT_CALIBRATED = "the harness could calibrate no interval for this prediction"
"""Followed by why, where that is known."""
NOTHING_CALIBRATED = "the harness could calibrate no interval for this ion image"
INTERVAL_METRICS: tuple[tuple[str, Direction, str, str, str], ...] = (
    (
        "{}_coverage",
        "nine-tenths",
        "Share of the true pixels inside the interval of 90 % that {}",
        "{} coverage",
        "How many true pixels of the tissue lie in the interval of 90 % that {}? Right is 0.9; less is "
        "overconfident.",
    ),
    (
        "worst_{}_coverage",
        "nine-tenths",
        "The same in the tenth of edges, spots or bright pixels that is held least",
        "{} coverage, worst structure",
        "The same among edges, spots and bright pixels, whichever is held least.",
    ),
    (
        "{}_width",
        "lower",
        "Mean width of the interval of 90 % that {}",
        "{} width",
        "How wide that interval is, over the ion's range; narrow is worth something only where it covers.",
    ),
    (
        "{}_score",
        "lower",
        "Winkler's score of the interval of 90 % that {}",
        "{} score",
        "Width, and 20 times how far the truth lies outside: honest and narrow intervals have the least.",
    ),
    (
        "{}_calibration_error",
        "lower",
        "Mean distance of coverage and level over 50 to 99 %, of the intervals that {}",
        "{} calibration error",
        "How far is the share of pixels held from what was asked, over levels of 50 to 99 %? 0 is right.",
    ),
)
"""Name, direction, title, label and explanation of what is measured of an interval, whoever tells it."""
NO_SHARES = ("{}_width", "{}_score")
"""Those of them that are not shares of pixels."""
CALIBRATED_METRICS = tuple(name.format("calibrated") for name, *_ in INTERVAL_METRICS)
"""What a board measures whose track asks for intervals of the harness."""

trust = partial(of_ion_images, question="trust")
ceiling = partial(of_ion_images, question="ceiling")


def interval_metrics(
    begins: str, label_begins: str, function: str, tells: str, undefined: tuple[str, ...]
) -> Iterator[MetricSpec]:
    """Yield the measures of the intervals of one origin.

    Parameters
    ----------
    begins, label_begins
        How their names and labels say whose it is.
    function
        Of `msibench.metrics.interval`.
    tells
        Whose it is, as the end of a sentence.
    undefined
        Why a value may be undefined.
    """
    for name, direction, title, label, explanation in INTERVAL_METRICS:
        full = name.format(begins)
        yield trust(
            name=full,
            version=1 if full == "interval_calibration_error" else 2,
            target=f"msibench.metrics.interval:{function}",
            direction=direction,
            bounds=NOT_NEGATIVE if name in NO_SHARES else SHARE,
            params={"measure": name.format("interval")},
            title=title.format(tells),
            label=label.format(label_begins),
            explanation=explanation.format(tells),
            undefined=undefined,
        )


TRUST_METRICS: tuple[MetricSpec, ...] = (
    trust(
        name="consistency",
        bounds=NOT_NEGATIVE,
        version=1,
        target="msibench.metrics.consistency:evaluate",
        direction="lower",
        needs=frozenset({"low"}),
        title="Error of the prediction degraded again, relative to the low image",
        label="consistency",
        digits=4,
        explanation="Does the prediction, made coarse again, give back what was measured?",
        undefined=("the low image is zero: there is nothing to be consistent with",),
    ),
    trust(
        name="consistency_noise",
        bounds=NOT_NEGATIVE,
        version=1,
        target="msibench.metrics.consistency:evaluate",
        direction="lower",
        params={"noise_units": True},
        unit="σ",
        needs=frozenset({"low", "counts"}),
        title="Error of the prediction degraded again, in units of counting noise",
        label="consistency (noise units)",
        explanation="The same in units of counting noise: about 1 is as good as the data.",
        undefined=("the low image is zero: there is nothing to be consistent with",),
    ),
    *interval_metrics(
        "interval",
        "interval",
        "evaluate",
        "the method tells",
        (NO_INTERVAL, NOTHING_TOLD),
    ),
    *interval_metrics(
        "calibrated",
        "harness's interval",
        "evaluate_calibrated",
        "the harness calibrated",
        (NOT_ASKED, NOT_CALIBRATED, NOTHING_CALIBRATED),
    ),
    trust(
        name="calibrated_signal_coverage",
        bounds=SHARE,
        version=2,
        target="msibench.metrics.interval:evaluate_calibrated",
        direction="nine-tenths",
        params={"measure": "signal_coverage"},
        needs=frozenset({"truth", "noise_free"}),
        title="Share of the noise-free signal inside the interval of 90 % of the signal that the harness calibrated",
        label="harness's interval coverage, signal",
        explanation="The same of the signal without counting noise, which is known for synthetic sections.",
        undefined=(NOT_ASKED, NOT_CALIBRATED, NOTHING_CALIBRATED),
    ),
    trust(
        name="edge_perceptual_loss_to_guide",
        bounds=NOT_NEGATIVE,
        version=1,
        target="msibench.metrics.edge_perceptual_loss:evaluate_to_guide",
        direction="lower",
        needs=frozenset({"guide"}),
        title="Edge perceptual loss to the guide, as Zou et al. report it",
        citation="Zou et al. (2025), loss controlled residual network",
        label="edge loss to guide",
        digits=4,
        explanation="How unlike the edges of the guide are those of the prediction? The lower, the more it "
        "looks like the guide, whether or not the ion does.",
        undefined=("the image is smaller than the 3 x 3 kernel",),
    ),
    trust(
        name="off_tissue",
        bounds=SHARE,
        version=2,
        target="msibench.metrics.off_tissue:evaluate",
        direction="lower",
        needs=frozenset({"truth", "mask"}),
        title="Share of the predicted intensity off the tissue",
        label="off tissue",
        explanation="How much of the predicted intensity lies off the tissue?",
        undefined=(
            "the prediction is zero everywhere",
            "no tissue mask is on record",
            "every pixel counts as tissue: nothing lies off it",
        ),
    ),
    trust(
        name="conservation",
        version=1,
        target="msibench.metrics.conservation:evaluate",
        direction="one",
        needs=frozenset({"low"}),
        title="Total intensity over that of the low image",
        label="conservation",
        explanation="Is the total intensity kept? 1 is kept.",
        undefined=("the low image holds no intensity",),
    ),
    trust(
        name="frc",
        bounds=NOT_NEGATIVE,
        version=2,
        target="msibench.metrics.frc:evaluate",
        direction="lower",
        params={"threshold": "1/7"},
        unit="µm",
        title="Effective resolution: Fourier ring correlation of the unseen detail with the truth's at 1/7",
        citation="Saxton and Baumeister, J. Microsc. 127 (1982) 127-138",
        label="resolution (µm)",
        explanation="Effective resolution: the period at which the added detail stops agreeing with the truth's; "
        "two coarse pixels where it never agrees.",
        undefined=(
            NO_DETAIL,
            NO_SPLIT,
            "the pixel size is not on record",
            "an edge is shorter than 4 pixels",
        ),
    ),
    trust(
        name="shift",
        bounds=NOT_NEGATIVE,
        version=1,
        target="msibench.metrics.shift:evaluate",
        direction="lower",
        unit="pixels",
        needs=frozenset({"low"}),
        title="Displacement against the low image, by phase correlation",
        citation="Kuglin and Hines, Proc. IEEE Int. Conf. Cybernetics and Society (1975) 163-165",
        label="shift (pixels)",
        explanation="By how many fine pixels is the prediction displaced?",
        undefined=("prediction and low image have no structure in common",),
    ),
    trust(
        name="band_power",
        bounds=NOT_NEGATIVE,
        version=1,
        target="msibench.metrics.band_power:evaluate",
        direction="one",
        title="Power above the low image's Nyquist frequency over that of the truth",
        label="band power",
        explanation="Detail finer than the coarse pixels, over that of the truth; above 1: too much.",
        undefined=(
            "the truth has no power above the low image's Nyquist frequency",
            "the grid is not finer than the low image's",
        ),
    ),
    trust(
        name="guide_leakage",
        bounds=SHARE,
        version=4,
        target="msibench.metrics.guide_leakage:evaluate",
        direction="lower",
        needs=frozenset({"truth", "low", "guide"}),
        title="Share of the added detail that is invented and explained by the guide",
        label="guide leakage",
        explanation="How much of the added detail is invented, and the guide's?",
        undefined=(NO_DETAIL, NO_SPLIT),
    ),
    trust(
        name="guide_leakage_low",
        bounds=SHARE,
        version=3,
        target="msibench.metrics.guide_leakage:evaluate",
        direction="lower",
        params={"end": "low"},
        needs=frozenset({"truth", "low", "guide"}),
        title="Lower end (95 %) of the share of the added detail that is invented and explained by the guide",
        label="guide leakage, at least",
        explanation="The same, at least: above 0 the guide has leaked.",
        undefined=(NO_DETAIL, NO_SPLIT),
    ),
    trust(
        name="uncharted_leakage",
        bounds=SHARE,
        version=4,
        target="msibench.metrics.guide_leakage:evaluate",
        direction="lower",
        params={"against": "uncharted"},
        needs=frozenset({"truth", "low", "guide", "uncharted"}),
        title="Share of the added detail that is invented and explained by structures without a counterpart",
        label="uncharted leakage",
        explanation="How much follows structures that are known to have no counterpart?",
        undefined=(NO_DETAIL, NO_SPLIT),
    ),
    trust(
        name="spectral_angle",
        bounds=(0.0, 180.0),
        version=1,
        target="msibench.metrics.spectral_angle:evaluate",
        direction="lower",
        each_ion_alone=False,
        regions=("section",),
        unit="°",
        title="Mean angle between predicted and measured spectra",
        citation="Kruse et al., Remote Sens. Environ. 44 (1993) 145-163",
        label="spectral angle (°)",
        explanation="Angle between predicted and measured spectra.",
        undefined=(
            "an angle needs at least two ion images",
            "no pixel of the truth holds any intensity",
        ),
    ),
    trust(
        name="colocalisation",
        bounds=NOT_NEGATIVE,
        version=1,
        target="msibench.metrics.colocalisation:evaluate",
        direction="lower",
        each_ion_alone=False,
        title="Mean change of an ion's colocalisation with the others",
        citation="Ovchinnikova et al., Bioinformatics 36 (2020) 3215-3224",
        label="colocalisation change",
        explanation="How much are relations between ions changed?",
        undefined=(
            "colocalisation needs at least two ion images",
            "the truth keeps no pixel above its median after the median filter",
        ),
    ),
    ceiling(
        name="noise_ceiling_psnr",
        version=2,
        target="msibench.metrics.noise_ceiling:evaluate",
        direction="higher",
        each_ion_alone=False,
        params={"metric": "psnr"},
        unit="dB",
        title="PSNR that the noise-free signal would get against this truth",
        label="noise ceiling, PSNR (dB)",
        explanation="PSNR of the noise-free signal: nobody can be expected to beat it.",
        undefined=(
            "no noise could be estimated: the finest wavelet coefficients are 0",
            "psnr of the signal against this truth is undefined",
        ),
    ),
    ceiling(
        name="noise_ceiling_ssim",
        bounds=(-1.0, 1.0),
        version=3,
        target="msibench.metrics.noise_ceiling:evaluate",
        direction="higher",
        each_ion_alone=False,
        params={"metric": "ssim"},
        title="SSIM that the noise-free signal would get against this truth",
        label="noise ceiling, SSIM",
        explanation="SSIM of the noise-free signal.",
        undefined=(
            "no noise could be estimated: the finest wavelet coefficients are 0",
            "ssim of the signal against this truth is undefined",
        ),
    ),
    ceiling(
        name="noise_ceiling_vif",
        bounds=NOT_NEGATIVE,
        version=1,
        target="msibench.metrics.noise_ceiling:evaluate",
        direction="higher",
        each_ion_alone=False,
        params={"metric": "vif"},
        title="VIF that the noise-free signal would get against this truth",
        label="noise ceiling, VIF",
        explanation="VIF of the noise-free signal.",
        undefined=(
            "no noise could be estimated: the finest wavelet coefficients are 0",
            "vif of the signal against this truth is undefined",
        ),
    ),
    ceiling(
        name="noise_ceiling_nqm",
        version=1,
        target="msibench.metrics.noise_ceiling:evaluate",
        direction="higher",
        each_ion_alone=False,
        params={"metric": "nqm"},
        unit="dB",
        title="NQM that the noise-free signal would get against this truth",
        label="noise ceiling, NQM (dB)",
        explanation="NQM of the noise-free signal.",
        undefined=(
            "no noise could be estimated: the finest wavelet coefficients are 0",
            "nqm of the signal against this truth is undefined",
        ),
    ),
    ceiling(
        name="neighbour_psnr",
        version=1,
        target="msibench.metrics.neighbour:evaluate",
        direction="higher",
        unit="dB",
        title="PSNR of a predictor that sees the eight true neighbours of each pixel",
        label="neighbour, PSNR (dB)",
        explanation="PSNR of a predictor that sees the eight true neighbours of each pixel.",
        undefined=("every pixel equals its neighbours: the ratio is infinite",),
    ),
)
"""Measures of trust, in the order in which pages list them."""
