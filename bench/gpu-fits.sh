#!/usr/bin/env bash
# Eight ions at published budgets on this machine's card, in at most 9 minutes: bench/gpu-fits.sh FILE.json
# Without a card, to see that it runs: bench/gpu-fits.sh FILE.json --device cpu --small
set -euo pipefail
exec "${PYTHON:-python3}" "$(dirname "$0")/measure_gpu.py" fits "$@"
