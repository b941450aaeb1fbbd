"""What the harness needs to know of the measures of unseen detail, without importing any of them."""

from __future__ import annotations

from msibench.contracts.metric import Direction, MetricSpec


def _spec(name: str, direction: Direction, title: str, unit: str = "") -> MetricSpec:
    return MetricSpec(
        name=name,
        version=1,
        target="msibench.metrics.detail:evaluate",
        direction=direction,
        kind="contextual",
        each_ion_alone=True,
        params={"measure": name},
        regions=("image",),
        unit=unit,
        needs=frozenset({"truth", "low"}),
        title=title,
    )


DETAIL_METRICS: tuple[MetricSpec, ...] = (
    _spec("skill", "higher", "Detail gain less the error in what the low image fixes"),
    _spec(
        "detail_gain", "higher", "Share of the truth's unseen detail that the prediction has right"
    ),
    _spec("detail_match", "higher", "Detail gain at the best single amplitude"),
    _spec("detail_precision", "one", "Share of the added detail that is true"),
    _spec("detail_recall", "one", "Share of the truth's unseen detail that was found"),
    _spec("input_error", "lower", "Error in what the low image fixes, over the unseen detail"),
    _spec("detail_energy", "higher", "Energy of the truth's unseen detail", "of data range²"),
)
"""Measures of what the low image cannot see, in the order in which pages list them. The last belongs to
the truth and is the same for every method: the weight of an image where several are pooled."""
