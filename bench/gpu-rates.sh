#!/usr/bin/env bash
# Rates of networks, LCRN and metrics on this machine's card, in at most 4 minutes: bench/gpu-rates.sh FILE.json
# Without a card, to see that it runs: bench/gpu-rates.sh FILE.json --device cpu --small
set -euo pipefail
exec "${PYTHON:-python3}" "$(dirname "$0")/measure_gpu.py" rates "$@"
