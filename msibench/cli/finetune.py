"""``msibench finetune``: train a method's network on ion images, from its weights or from scratch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from msibench.cli._together import Excludes, Needs, option_rules

if TYPE_CHECKING:
    from msibench.contracts.method import MethodSpec
    from msibench.training.finetune import FinetuneRequest, TrainingSection
    from msibench.training.loop import Progress


OF_TRAINING = (
    "--resume", "--evaluate", "--grid", "--sections", "--validation", "--factor", "--protocol", "--iterations",
    "--from-scratch", "--set", "--train", "--patch", "--batch", "--augment", "--seed", "--processes",
)  # fmt: skip
"""Options that a ranking of finished trainings does not read."""


@click.command(
    "finetune",
    epilog="Example: msibench finetune mosr-msi-tiny --dataset lbae-mouse-brain --iterations 2000 --out mine",
)
@click.argument("method")
@click.option("--dataset", "datasets", multiple=True, help="Data set to learn from; repeatable.")
@click.option(
    "--sections",
    multiple=True,
    help="Sections to learn from, comma-separated, SECTION or DATASET/SECTION; "
    "default: the training sections of every --dataset.",
)
@click.option("--validation", multiple=True, help="Sections to judge on the way, as --sections.")
@click.option("--mz-set", default="", help="m/z set of the data sets; default: the card's own.")
@click.option("--factor", default=4, show_default=True, help="Fine pixels per coarse pixel.")
@click.option("--protocol", "protocols", multiple=True, help="NAME or NAME=SHARE; repeatable.")
@click.option("--iterations", default=5000, show_default=True)
@click.option("--from-scratch", is_flag=True, help="Do not start from the method's weights.")
@click.option("--weights", "given", multiple=True, type=click.Path(path_type=Path, exists=True))
@click.option("--set", "options", multiple=True, help="Option of the method, NAME=VALUE (TOML).")
@click.option(
    "--train", "choices", multiple=True, help="Option of the training, NAME=VALUE (TOML)."
)
@click.option("--patch", default=24, show_default=True, help="Edge of a patch in coarse pixels.")
@click.option("--batch", default=8, show_default=True)
@click.option("--augment/--no-augment", default=True, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option(
    "--processes",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Processes that share every batch, each with a GPU of its own where --device is cuda.",
)
@click.option("--grid", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--evaluate/--no-evaluate",
    default=True,
    show_default=True,
    help="After a grid: run all models on the test sections and rank them.",
)
@click.option("--evaluate-only", is_flag=True, help="Rank the finished trainings in --out.")
@click.option(
    "--beside",
    multiple=True,
    help="A method to rank with the trainings, another pre-trained network, say; repeatable.",
)
@click.option(
    "--results",
    type=click.Path(file_okay=False, path_type=Path),
    help="Results folder of the evaluation; default: results inside --out.",
)
@click.option("--jobs", type=click.IntRange(1), default=1, help="Cells evaluated side by side.")
@click.option("--resume", is_flag=True, help="Resume from the state in --out.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the result.")
@option_rules(
    *(
        Needs(option, ("--grid", "--evaluate-only"), "it is for the ranking of trainings")
        for option in ("--results", "--jobs", "--beside")
    ),
    Needs("--evaluate", ("--grid",), "it is for the ranking of a grid"),
    Excludes("--evaluate-only", OF_TRAINING, "nothing is trained"),
    Excludes("--from-scratch", ("--weights",), "a training from scratch reads no weights"),
    Excludes("--grid", ("--resume",), "a grid resumes by itself"),
)
def command(method: str, out: Path, grid: Path | None, resume: bool, **options: Any) -> int:
    """Train METHOD on ion images and write weights.safetensors and record.json into --out.

    METHOD is a method's name, a plugin and a checkpoint (spandrel:FILE, any network that spandrel knows), or
    the folder of an earlier training.

    The result is a method of its own: msibench run TRACK --method OUT. Sections that it has seen are
    refused as test sections. --grid runs every combination of a TOML table, each in a folder of its
    own, draws their curves, and ranks all of them on the test sections of the data sets.

    Several processes share every batch with --processes N, or when started by torchrun, also on
    several machines: torchrun --nproc-per-node 2 … -m msibench.cli.main finetune …
    """
    import os
    import sys

    from msibench.plugin_manager import resolve_method
    from msibench.plugin_manager.discovery import discover
    from msibench.training.ddp import world_from_environment
    from msibench.training.finetune import FinetuneOptions, finetune
    from msibench.training.launch import check_shares, is_started_by_torchrun, start

    processes = options["processes"]
    if processes > 1 and not options["evaluate_only"] and not is_started_by_torchrun(os.environ):
        check_shares(processes, options["batch"], options["device"])
        start(processes, sys.argv[1:])
    catalogue = discover()
    spec = resolve_method(method, catalogue)
    reader = _Reader(catalogue, options["mz_set"])
    if options["evaluate_only"]:
        return _evaluate(spec, out, reader, options)
    request = _request(spec, reader, options)
    weights = None if options["from_scratch"] else _weights(spec, options["given"])
    with world_from_environment(options["device"]) as world:
        if grid is not None:
            from msibench.training.grid import run_grid

            say = click.echo if world.leads else _quiet
            run_grid(grid, request, spec, reader.read, out, weights=weights, world=world, say=say)
        else:
            how = FinetuneOptions(
                weights=weights or {},
                resume=resume,
                world=world,
                progress=_bar() if world.leads else None,
                command=_typed(),
            )
            sections, validation = reader.read(request.sections), reader.read(request.validation)
            if world.leads:
                click.echo(
                    f"{spec.name}: {request.training.steps} steps of {request.batch} patches of "
                    f"{request.patch} x {request.patch} coarse pixels; its loss is shown every 20 steps"
                )
            record = finetune(request, spec, sections, validation, out, how)
    if grid is not None:
        return _evaluate(spec, out, reader, options) if options["evaluate"] and world.leads else 0
    if world.leads:
        saved = record["weights"]
        click.echo(f"\n{out / saved['file']}  {saved['bytes']} bytes  sha256 {saved['sha256']}")
    return 0


def _request(spec: MethodSpec, reader: _Reader, options: Mapping[str, Any]) -> FinetuneRequest:
    """Return the training that the options describe."""
    from msibench.cli._values import settings
    from msibench.training.finetune import FinetuneRequest

    training = {
        "iterations": options["iterations"],
        "seed": options["seed"],
        **settings(options["choices"], "--train"),
    }
    return FinetuneRequest.from_mapping(
        {
            "method": spec.name,
            "sections": reader.names(options["sections"], options["datasets"]),
            "validation": reader.names(options["validation"], options["datasets"], given=True),
            "factor": options["factor"],
            "start": "scratch" if options["from_scratch"] else "weights",
            "config": settings(options["options"]),
            "protocols": _shares(options["protocols"]),
            "augment": options["augment"],
            "patch": options["patch"],
            "batch": options["batch"],
            "training": training,
        }
    )


def _evaluate(spec: MethodSpec, out: Path, reader: _Reader, options: Mapping[str, Any]) -> int:
    """Run the finished trainings in `out` on held-out sections and say where the ranking is."""
    from msibench.cli._grid import GridEvaluation, evaluate_grid
    from msibench.cli._progress import listener, stopped_by_signals
    from msibench.cli._shared import catalogue

    with listener(events=False, quiet=False) as listen, stopped_by_signals() as stop:
        done = evaluate_grid(
            spec,
            out,
            catalogue(),
            reader.card,
            asked=GridEvaluation(
                datasets=options["datasets"],
                beside=options["beside"],
                mz_set=options["mz_set"],
                results=options["results"],
                given_weights=options["given"],
                device=options["device"],
                jobs=options["jobs"],
            ),
            stop=stop,
            listen=listen,
        )
    click.echo(f"evaluated {len(done.variants)} trainings: {done.summary.told()}")
    click.echo(f"leaderboard: {done.folder / 'README.md'} (score: {done.track.scheme})")
    return done.summary.exit_code


class _Reader:
    """Training sections by name, from the cards, on [0, 1]."""

    def __init__(self, catalogue: Any, mz_set: str) -> None:
        from msibench.datasets import load_card

        self._load, self._catalogue, self._mz_set = load_card, catalogue, mz_set
        self._cards: dict[str, Any] = {}

    def card(self, name: str) -> Any:
        if name not in self._cards:
            self._cards[name] = self._load(self._catalogue.dataset(name))
        return self._cards[name]

    def names(
        self, wanted: tuple[str, ...], datasets: tuple[str, ...], *, given: bool = False
    ) -> list[str]:
        """Return ``DATASET/SECTION`` for each given name; without names, all training sections."""
        from msibench.errors import ConfigurationError

        typed = [part.strip() for text in wanted for part in text.split(",") if part.strip()]
        if not typed:
            if given:
                return []
            return [f"{d}/{section}" for d in datasets for section in self.card(d).train]
        found = []
        for name in typed:
            if "/" not in name and len(datasets) != 1:
                raise ConfigurationError(
                    f"section {name!r}: write DATASET/SECTION, or give exactly one --dataset"
                )
            found.append(name if "/" in name else f"{datasets[0]}/{name}")
        return found

    def read(self, names: tuple[str, ...]) -> list[TrainingSection]:
        from msibench.datasets import dataset_digest, read_section
        from msibench.training.finetune import TrainingSection
        from msibench.training.patches import to_unit_scale

        sections = []
        for name in names:
            dataset, _, section = name.partition("/")
            card = self.card(dataset)
            image = read_section(card, section, self._mz_set).image
            sections.append(
                TrainingSection(
                    name=name,
                    image=to_unit_scale(image, card.declared_range),
                    digest=dataset_digest(card, section),
                )
            )
        return sections


def _weights(spec: Any, given: tuple[Path, ...]) -> Mapping[str, Path]:
    """Return the method's files; a file given by the user is taken as the only one that it needs."""
    from msibench.errors import MissingWeightsError
    from msibench.weights import resolve

    found, missing = resolve(spec.weights, given)
    if missing:
        raise MissingWeightsError(
            f"{spec.name} starts from {', '.join(file.name for file in missing)}, which is not on "
            f"this machine: msibench weights fetch {spec.name}, --weights PATH, or --from-scratch"
        )
    return found


def _shares(protocols: tuple[str, ...]) -> dict[str, float]:
    from msibench.errors import ConfigurationError

    shares: dict[str, float] = {}
    for text in protocols:
        name, _, share = text.partition("=")
        try:
            shares[name] = float(share or 1)
        except ValueError:
            raise ConfigurationError(f"expected NAME or NAME=SHARE, got {text!r}") from None
    return shares


def _bar() -> Callable[[Progress], None]:
    """Return a callback that shows the curve's last values on one line."""
    from time import monotonic

    began = monotonic()
    first: list[int] = []

    def show(now: Progress) -> None:
        if not first:
            first.append(now.iteration)
        spent = monotonic() - began
        left = spent / max(1, now.iteration - first[0] + 20) * (now.iterations - now.iteration)
        judged = "".join(
            f"  {name} {value:.4g}" for name, value in now.validation.items() if name != "iteration"
        )
        line = (
            f"{now.iteration}/{now.iterations}  loss {now.loss:.5f}  lr {now.lr:.2e}{judged}  "
            f"{left / 60:.1f} min left"
        )
        click.echo(f"\r{line:<100}", nl=False)

    return show


def _typed() -> str:
    """Return the command without the folders of this machine."""
    import shlex
    import sys

    typed = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]
    return "msibench " + shlex.join(typed)


def _quiet(text: str) -> None:
    """Print nothing: another process reports."""
