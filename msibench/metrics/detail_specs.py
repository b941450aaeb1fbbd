"""What the harness needs to know about the measures of unseen detail, without importing any of them."""

from __future__ import annotations

from functools import partial

from msibench.contracts.metric import (
    ANYTHING,
    NOT_NEGATIVE,
    SHARE,
    UP_TO_ONE,
    Direction,
    MetricSpec,
)

NO_DETAIL = "the truth has no detail that the low image does not fix"
ADDS_NOTHING = (
    "the prediction adds less than 1 % of the truth's detail: nothing to be precise about"
)
NO_SPLIT = "what the low image fixes is not known for this degradation"
NOTHING_ABOVE_NOISE = "no pixel has detail, right or wrong, above the noise"
CEILING_SOURCES = (
    "exact: the noise-free signal, scaled by the coarse counts",
    "measured: a repeat with noise of its own",
    "measured: a repeat that shares some noise, an upper bound",
    "count thinning: binomial halves",
    "estimated: by spatial nugget and by wavelet MAD",
)
"""Meaning of the numbers of ``detail_ceiling_source``."""


of_ion_images = partial(
    MetricSpec, kind="contextual", each_ion_alone=True, regions=("image",), version=1
)
"""A measure on the whole image, each ion image for itself."""
_of_unseen = partial(of_ion_images, needs=frozenset({"truth", "low"}))
_ceiling = partial(
    _of_unseen,
    target="msibench.metrics.detail_ceiling:evaluate",
    direction="higher",
    question="ceiling",
    undefined=(NO_DETAIL, NO_SPLIT),
)


def _detail(
    name: str,
    direction: Direction,
    title: str,
    explanation: str,
    undefined: tuple[str, ...] = (NO_DETAIL, NO_SPLIT),
    bounds: tuple[float, float] = UP_TO_ONE,
) -> MetricSpec:
    return _of_unseen(
        name=name,
        bounds=bounds,
        target="msibench.metrics.detail:evaluate",
        params={"measure": name},
        direction=direction,
        title=title,
        label=name.replace("_", " "),
        explanation=explanation,
        undefined=undefined,
    )


def _share(what: str, direction: Direction, explanation: str) -> MetricSpec:
    return _of_unseen(
        name=f"{what}_share",
        bounds=SHARE,
        target="msibench.metrics.hallucination:evaluate",
        params={"what": what},
        direction=direction,
        title=f"Share of the pixels with clear detail in which it was {what}",
        label=what,
        question="trust",
        explanation=explanation,
        undefined=(NOTHING_ABOVE_NOISE, NO_SPLIT),
    )


DETAIL_METRICS: tuple[MetricSpec, ...] = (
    _detail(
        "skill",
        "higher",
        "Detail gain less the error in what the low image fixes",
        "Of what the coarse image does not show, how much is right? 0: no better than the "
        "plainest image with that coarse image; 1: the truth.",
    ),
    _detail(
        "detail_gain",
        "higher",
        "Share of the truth's unseen detail that the prediction has right",
        "The same for the added detail alone: 0 adds nothing, below 0 invents.",
    ),
    _detail(
        "detail_match",
        "higher",
        "Detail gain at the best single amplitude",
        "How well added and true detail agree; no stretch or sharpening changes it.",
        bounds=(-1.0, 1.0),
    ),
    _detail(
        "detail_precision",
        "one",
        "Share of the added detail that is true",
        "How much of the added detail is true? 1 is right, above 1 timid, near 0 invented.",
        (NO_DETAIL, ADDS_NOTHING, NO_SPLIT),
        ANYTHING,
    ),
    _detail(
        "detail_recall",
        "one",
        "Share of the truth's unseen detail that was found",
        "How much of the true detail was found?",
        bounds=ANYTHING,
    ),
    _detail(
        "input_error",
        "lower",
        "Error in what the low image fixes, over the unseen detail",
        "How far is the prediction from the coarse image that it was made from?",
        bounds=NOT_NEGATIVE,
    ),
    _of_unseen(
        name="detail_energy",
        bounds=NOT_NEGATIVE,
        target="msibench.metrics.detail:evaluate",
        params={"measure": "detail_energy"},
        direction="higher",
        title="Energy of the truth's unseen detail",
        label="detail energy",
        question="ceiling",
        unit="of data range²",
        explanation="The weight of an ion image where several are pooled.",
        undefined=(NO_SPLIT,),
    ),
    _ceiling(
        name="detail_ceiling_low",
        bounds=SHARE,
        params={"end": "low"},
        title="Lower end of the detail gain that the signal itself would get",
        label="detail ceiling low",
        explanation="The truth's noise cannot be predicted: nobody gets further, but for chance.",
    ),
    _ceiling(
        name="detail_ceiling_high",
        bounds=SHARE,
        params={"end": "high"},
        title="Upper end of the detail gain that the signal itself would get",
        label="detail ceiling high",
    ),
    _ceiling(
        name="detail_ceiling_source",
        bounds=(0.0, 4.0),
        params={"end": "source"},
        title="Where the ceiling of the detail gain comes from",
        label="detail ceiling source",
        explanation="0 the exact signal, 1 a measured repeat, 2 a repeat that shares some noise (an "
        "upper bound), 3 thinned counts, 4 two estimates.",
        digits=0,
    ),
    _share(
        "improved",
        "higher",
        "Of the pixels where detail is clear, in how many is it nearer the truth?",
    ),
    _share(
        "omitted", "lower", "In how many is it left out? All, where each pixel is only repeated."
    ),
    _share(
        "invented", "lower", "In how many is the image farther from the truth than without detail?"
    ),
)
"""Measures of what the low image cannot see, in the order in which pages list them. Those of the question
``"ceiling"`` belong to the truth and are the same for every method."""
