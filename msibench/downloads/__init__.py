"""Resumable, verified downloads from public addresses, and the folder that keeps them.

Almost everything asks for the folder, hardly anything downloads: what speaks HTTP and TLS is imported when it is asked for.
"""

from typing import TYPE_CHECKING, Any

from msibench.downloads.cache_root import cache_root

if TYPE_CHECKING:
    from msibench.downloads.public_addresses import DownloadError
    from msibench.downloads.transfer import Patience, download

__all__ = ["DownloadError", "Patience", "cache_root", "download"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from msibench.downloads import transfer

    return getattr(transfer, name)
