"""Resumable, verified downloads from public addresses, and the folder that keeps them."""

from msibench.downloads.cache_root import cache_root
from msibench.downloads.download import Patience, download
from msibench.downloads.public_addresses import DownloadError

__all__ = ["DownloadError", "Patience", "cache_root", "download"]
