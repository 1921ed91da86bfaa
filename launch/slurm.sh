#!/usr/bin/env bash
# A whole study on SLURM: its members, then its probes, then the report, each
# waiting for those that it needs.
#
#   launch/slurm.sh configs/cat5.yaml --partition=gpu --account=me \
#       [--nodes N] [--devices D] [--throttle N] [--dry-run]
#
# Called so, it leaves the arithmetic to `timecat launch`: what is missing,
# whether it fits the cluster, and the scripts filled in for this study. That
# comes back here to submit, with
#   SCRIPTS   the directory of the filled-in member.sbatch, probe.sbatch and
#             report.sbatch
#   MEMBERS   members to train, such as 0,2,3 in one array; in several as
#             0,2@12:00:00 3,4,5%1@02:00:00, each with its time limit, and after
#             % how many of it run at the same time
#   EARLIER   tasks of an earlier launch that still train others: 17_1 17_4
#   PROBES    data sets to probe, such as 0,1
#   PROBING   tasks of an earlier launch that probe others
#   REPORT    not empty: write the report
#   JOBS      a file that takes a line for each task: stage, number, job
set -euo pipefail
if [ -z "${SCRIPTS:-}" ]; then
    if [ $# = 0 ]; then
        echo "usage: launch/slurm.sh CONFIG [options of timecat launch]" >&2
        exit 2
    fi
    read -ra timecat <<<"${TIMECAT:-timecat}"
    exec "${timecat[@]}" launch --config "$@"
fi

# submit STAGE NUMBERS OPTIONS...: sets $tasks to the jobs of the array's tasks,
# all separated by blanks
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
# Each task by its number: afterok on a whole array never forgets a task that
# failed once and was then requeued.
after() {
    if [ $# -gt 0 ]; then
        local IFS=:
        echo "--dependency=afterok:$*"
    fi
}

members=${EARLIER:-}
for array in ${MEMBERS:-}; do
    numbers=${array%@*}
    limit=${array:${#numbers}}
    submit member "${numbers%\%*}" --array="$numbers" \
        ${limit:+"--time=${limit#@}"} "$SCRIPTS/member.sbatch"
    members+=$tasks
done
probes=${PROBING:-}
if [ -n "${PROBES:-}" ]; then
    # without --kill-on-invalid-dep what waits for a failed task waits for ever
    submit probe "$PROBES" --array="$PROBES" --kill-on-invalid-dep=yes \
        $(after $members) "$SCRIPTS/probe.sbatch"
    probes+=$tasks
fi
if [ -n "${REPORT:-}" ]; then
    job=$(sbatch --parsable --kill-on-invalid-dep=yes $(after $probes) \
        "$SCRIPTS/report.sbatch")
    echo "report 0 ${job%%;*}" >>"$JOBS"
fi
