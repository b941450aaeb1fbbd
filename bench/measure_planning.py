"""Planning many cells and telling how each stands, none of them run yet: ``python bench/measure_planning.py [CELLS]``.

Processor seconds; the plan is that of `bench/measure_stored_cells.py`, the states are those of ``msibench status``.
"""

import os
import sys
import tempfile
from pathlib import Path

from measure_stored_cells import plan_of, timed

from msibench.cli.status import _state
from msibench.metrics.specs import builtin_metrics
from msibench.plugin_manager import discover
from msibench.results.store import Store


def main():
    cells = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    catalogue = discover(builtin_metrics=builtin_metrics())
    plan_of(2, catalogue)
    print(f"{cells} cells, load {os.getloadavg()[0]:.1f}")
    found = []
    timed("planning", lambda: found.append(plan_of(cells, catalogue)))
    with tempfile.TemporaryDirectory() as name:
        store = Store.open(Path(name))

        def states():
            for cell in found[0].cells:
                _state(store, cell, {"another": "key"}, False)

        timed("how each cell stands", states)


if __name__ == "__main__":
    main()
