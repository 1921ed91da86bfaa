#!/usr/bin/env bash
# A whole study on one machine with several GPUs: members packed on the GPUs, then the probes, then the report.
#
#   launch/local.sh configs/cat5.yaml                                a member on each GPU
#   launch/local.sh configs/cat5.yaml --devices-per-member 2         a member on every two GPUs, by DDP
#   CUDA_VISIBLE_DEVICES=0,1 launch/local.sh configs/cat5.yaml --slots 2
#
# The same command goes on from what is finished; `timecat status --config CONFIG` shows it meanwhile.
set -euo pipefail
[ $# -gt 0 ] || { echo "usage: launch/local.sh CONFIG [options of timecat fit]" >&2; exit 2; }
config=$1
shift
read -ra timecat <<<"${TIMECAT:-timecat}"

"${timecat[@]}" fit --config "$config" "$@" # names the members that failed, and is then no success
"${timecat[@]}" probe --config "$config"
"${timecat[@]}" report --config "$config"
