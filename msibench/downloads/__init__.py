"""Resumable, verified downloads from public addresses, and the folder that keeps them."""

from msibench.downloads.cache_root import cache_root
from msibench.downloads.download import download
from msibench.downloads.public_addresses import DownloadError

__all__ = ["DownloadError", "cache_root", "download"]
