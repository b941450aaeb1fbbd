"""Keep packages that download on first use from doing so in the middle of a run."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn
from unittest import mock

from msibench.errors import MissingWeightsError


@contextmanager
def without_network(package: str, metric: str, command: str) -> Iterator[None]:
    """Refuse every connection inside the block; what fails for want of one is missing weights.

    Parameters
    ----------
    package, metric
        Whose weights they are, for the message.
    command
        What to run where there is a network.

    Raises
    ------
    MissingWeightsError
        If the block tried to connect, or could not read a file.
    """
    attempts: list[str] = []

    def refuse(host: Any, *_args: Any, **_kwargs: Any) -> NoReturn:
        attempts.append(str(host))
        raise ConnectionRefusedError(f"no downloads during a run (asked for {host})")

    # Offline, the hub client looks into its cache at once instead of retrying for a minute.
    constants = sys.modules.get("huggingface_hub.constants")
    offline = (
        mock.patch.object(constants, "HF_HUB_OFFLINE", True)
        if constants is not None
        else mock.patch.dict("os.environ", HF_HUB_OFFLINE="1")
    )
    with mock.patch.object(socket, "getaddrinfo", refuse), offline:
        try:
            yield
        except Exception as error:
            if not attempts and not isinstance(error, OSError):
                raise
            raise MissingWeightsError(
                f"{package}:{metric} needs pretrained weights that are not on this machine. "
                f"Get them where there is a network: {command}"
            ) from error
