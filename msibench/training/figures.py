"""Tables and pictures of many trainings: loss curves, validation, ranking, what differed.

The counterparts of Cao et al.'s Figures S2 (loss curves of all fine-tuned models) and, from
validation, S3 and S4; test-set metrics of the variants come from a run and its leaderboard.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msibench.io.whole_files import write_whole
from msibench.training.checkpoints import canonical, load_record


def write_overview(folders: Sequence[Path], out: Path) -> None:
    """Write ``trainings.csv``, ``curves.csv``, ``loss-curves.svg`` and ``validation.svg`` into `out`.

    The same records give the same bytes.
    """
    records = {folder.name: load_record(folder) for folder in folders}
    if not records:
        return
    files = {
        out / "trainings.csv": _csv(summary(records)),
        out / "curves.csv": _csv(curves(records)),
        out / "loss-curves.svg": _loss_figure(records),
    }
    if any(record["validation"] for record in records.values()):
        files[out / "validation.svg"] = _validation_figure(records)
    out.mkdir(parents=True, exist_ok=True)
    write_whole(files)


def summary(records: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return one row a training, best validation first: what differs between requests, and the end.

    Trainings without validation are ranked by their last loss.
    """
    settings = {name: _flat(record["request"]) for name, record in records.items()}
    keys = sorted({key for flat in settings.values() for key in flat})
    varied = [key for key in keys if len({canonical(s.get(key)) for s in settings.values()}) > 1]
    rows = []
    for name, record in records.items():
        last = record["validation"][-1] if record["validation"] else {}
        row: dict[str, Any] = {"training": name}
        row |= {key: _cell(settings[name].get(key, "")) for key in varied}
        row["last loss"] = record["curve"]["loss"][-1]
        row |= {f"validation {key}": last.get(key, "") for key in ("psnr", "ssim")}
        row["weights sha256"] = record["weights"]["sha256"]
        rows.append(row)

    def order(row: Mapping[str, Any]) -> tuple[float, float, str]:
        psnr = row["validation psnr"]
        judged = float("inf") if psnr == "" else -float(psnr)
        return judged, float(row["last loss"]), str(row["training"])

    ranked = sorted(rows, key=order)
    return [{"rank": rank, **row} for rank, row in enumerate(ranked, start=1)]


def curves(records: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return one row a point of every loss curve."""
    return [
        {"training": name, "iteration": iteration, "loss": loss, "lr": lr}
        for name, record in records.items()
        for iteration, loss, lr in zip(
            record["curve"]["iteration"],
            record["curve"]["loss"],
            record["curve"]["lr"],
            strict=True,
        )
    ]


def _loss_figure(records: Mapping[str, Mapping[str, Any]]) -> bytes:
    figure, axes = _axes(1)
    for name, record in records.items():
        axes[0].plot(record["curve"]["iteration"], record["curve"]["loss"], lw=1, label=name)
    axes[0].set(xlabel="iteration", ylabel="training loss", yscale="log")
    return _svg(figure, axes[-1], len(records))


def _validation_figure(records: Mapping[str, Mapping[str, Any]]) -> bytes:
    figure, axes = _axes(2)
    for axis, metric, label in ((axes[0], "psnr", "PSNR (dB)"), (axes[1], "ssim", "SSIM")):
        for name, record in records.items():
            points = record["validation"]
            axis.plot(
                [point["iteration"] for point in points],
                [point[metric] for point in points],
                marker=".",
                lw=1,
                label=name,
            )
        axis.set(xlabel="iteration", ylabel=f"{label} on held-out sections")
    return _svg(figure, axes[-1], len(records))


def _axes(count: int) -> tuple[Any, list[Any]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6 * count, 4), layout="constrained")
    return figure, [figure.add_subplot(1, count, index + 1) for index in range(count)]


def _svg(figure: Any, axis: Any, lines: int) -> bytes:
    import matplotlib as mpl

    if lines <= 16:
        axis.legend(fontsize="x-small")
    stream = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "msibench", "svg.fonttype": "none"}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return stream.getvalue()


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        name = f"{prefix}{key}"
        if key in ("training", "config") and isinstance(value, Mapping):
            flat |= _flat(value, f"{name}.")
        else:
            flat[name] = value
    return flat


def _cell(value: Any) -> Any:
    return value if isinstance(value, str | int | float) else json.dumps(value, sort_keys=True)


def _csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue().encode()
