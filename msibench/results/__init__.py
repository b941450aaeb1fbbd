"""What a run keeps: keys, records, and the folder that holds them."""

from msibench.results.keys import canonical_json, digest_of
from msibench.results.schema import SCHEMA_VERSION, CellRecord, Status
from msibench.results.store import Store

__all__ = ["SCHEMA_VERSION", "CellRecord", "Status", "Store", "canonical_json", "digest_of"]
