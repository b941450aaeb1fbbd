"""The pretrained files that the core itself can use, and their names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from msibench.contracts.method import WeightFile
from msibench.errors import UnknownNameError

_TORCHVISION = "https://download.pytorch.org/models/"
_LPIPS = (
    "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/"
    "082bb24f84c091ea94de2867d34c4544f68e0963/lpips/weights/v0.1/"
)
_DISTS = (
    "https://raw.githubusercontent.com/dingkeyan93/DISTS/"
    "1267d8cb626c98706db3697422701c56a85ebf2e/DISTS_pytorch/"
)
_IMAGENET = "ImageNet-1k classification"
_BAPPS = "BAPPS human judgements of patch similarity (heads only; the backbone saw ImageNet-1k)"

CORE_WEIGHTS: Mapping[str, WeightFile] = {
    # torchvision publishes the first eight hex digits of each sha256 in the file name.
    "vgg16": WeightFile(
        name="vgg16-397923af.pth",
        url=_TORCHVISION + "vgg16-397923af.pth",
        sha256="397923af",
        size=553433881,
        licence="BSD-3-Clause (torchvision); trained on ImageNet",
        trained_on=_IMAGENET,
    ),
    "alexnet": WeightFile(
        name="alexnet-owt-7be5be79.pth",
        url=_TORCHVISION + "alexnet-owt-7be5be79.pth",
        sha256="7be5be79",
        size=244408911,
        licence="BSD-3-Clause (torchvision); trained on ImageNet",
        trained_on=_IMAGENET,
    ),
    "squeezenet": WeightFile(
        name="squeezenet1_1-b8a52dc0.pth",
        url=_TORCHVISION + "squeezenet1_1-b8a52dc0.pth",
        sha256="b8a52dc0",
        licence="BSD-3-Clause (torchvision); trained on ImageNet",
        trained_on=_IMAGENET,
    ),
    "dists": WeightFile(
        name="dists/weights.pt",
        url=_DISTS + "weights.pt",
        sha256="f5e65c96230b7f6ca995691647d482237e4cab8a50c5c4a5784f219ef0748218",
        licence="MIT",
        trained_on="KADID-10k human judgements and texture pairs (weights of VGG16 features only)",
    ),
    "lpips-alex": WeightFile(
        name="lpips/v0.1_alex.pth",
        url=_LPIPS + "alex.pth",
        sha256="df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
        licence="BSD-2-Clause",
        trained_on=_BAPPS,
    ),
    "lpips-vgg": WeightFile(
        name="lpips/v0.1_vgg.pth",
        url=_LPIPS + "vgg.pth",
        sha256="a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
        licence="BSD-2-Clause",
        trained_on=_BAPPS,
    ),
    "lpips-squeeze": WeightFile(
        name="lpips/v0.1_squeeze.pth",
        url=_LPIPS + "squeeze.pth",
        sha256="4a5350f23600cb79923ce65bb07cbf57dca461329894153e05a1346bd531cf76",
        licence="BSD-2-Clause",
        trained_on=_BAPPS,
    ),
}
"""Short name → file, for the networks that perceptual metrics and losses use."""


def known(extra: Iterable[WeightFile] = ()) -> dict[str, WeightFile]:
    """Return every file by its names: its short name and its file name.

    Parameters
    ----------
    extra
        Files that plugins declare (``MethodSpec.weights``); this layer cannot see plugins itself.
    """
    table = dict(CORE_WEIGHTS)
    table.update({file.name: file for file in CORE_WEIGHTS.values()})
    table.update({file.name: file for file in extra})
    return table


def lookup(name: str | WeightFile, extra: Iterable[WeightFile] = ()) -> WeightFile:
    """Return the file called `name`, or raise and list the names.

    Raises
    ------
    UnknownNameError
        If no file has the name `name`; the message offers the nearest one.
    """
    if isinstance(name, WeightFile):
        return name
    table = known(extra)
    if name in table:
        return table[name]
    near = get_close_matches(name, table, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise UnknownNameError(
        f"No pretrained file named {name!r}.{hint} `msibench weights list` shows all of them."
    )


def short_name(file: WeightFile) -> str:
    """Return the name to type on the command line: the short one where there is one."""
    return next(
        (short for short, core in CORE_WEIGHTS.items() if core.name == file.name), file.name
    )
