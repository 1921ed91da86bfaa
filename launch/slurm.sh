#!/usr/bin/env bash
# A whole study on SLURM: its members, then its probes, then the report, each waiting for those that it needs.
#
#   launch/slurm.sh configs/cat5.yaml --partition=gpu --account=me [--nodes N] [--devices D] [--dry-run]
#
# Called so, it leaves the arithmetic to `timecat launch`: what is missing, whether it fits the cluster, and the scripts
# filled in for this study. That comes back here to submit, with
#   SCRIPTS   the directory of the filled-in member.sbatch, probe.sbatch, report.sbatch
#   MEMBERS   members to train, such as 0,2,3
#   EARLIER   tasks of an earlier launch that still train others, such as 17_1 17_4
#   PROBES    data sets to probe, such as 0,1
#   PROBING   tasks of an earlier launch that probe others
#   REPORT    not empty: write the report
#   JOBS      a file that takes a line for each submitted task: stage, number, job
set -euo pipefail
if [ -z "${SCRIPTS:-}" ]; then
    [ $# -gt 0 ] || { echo "usage: launch/slurm.sh CONFIG [options of sbatch and timecat launch]" >&2; exit 2; }
    exec ${TIMECAT:-timecat} launch --config "$@"
fi

# submit STAGE NUMBERS OPTIONS...: sets $tasks to the jobs of the array's tasks, all separated by blanks
submit() {
    local stage=$1 numbers=$2 job number
    shift 2
    job=$(sbatch --parsable "$@")
    job=${job%%;*} # a federation adds ;cluster
    tasks=
    for number in ${numbers//,/ }; do
        tasks+=" ${job}_$number"
        echo "$stage $number ${job}_$number" >>"$JOBS"
    done
}
# Each task by its number: afterok on a whole array never forgets a task that failed once and was then requeued.
after() {
    if [ $# -gt 0 ]; then
        local IFS=:
        echo "--dependency=afterok:$*"
    fi
}

members=${EARLIER:-}
if [ -n "${MEMBERS:-}" ]; then
    submit member "$MEMBERS" --array="$MEMBERS" "$SCRIPTS/member.sbatch"
    members+=$tasks
fi
probes=${PROBING:-}
if [ -n "${PROBES:-}" ]; then
    # --kill-on-invalid-dep: without it what waits for a failed task waits for ever
    submit probe "$PROBES" --array="$PROBES" --kill-on-invalid-dep=yes $(after $members) "$SCRIPTS/probe.sbatch"
    probes+=$tasks
fi
if [ -n "${REPORT:-}" ]; then
    job=$(sbatch --parsable --kill-on-invalid-dep=yes $(after $probes) "$SCRIPTS/report.sbatch")
    echo "report 0 ${job%%;*}" >>"$JOBS"
fi
