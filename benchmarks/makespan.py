"""How well `timecat fit` packs members on slots: the time until the last one ends, over that of the best schedule.

    python -m benchmarks.makespan                      # 5 members on 1, 2 and 4 slots
    python -m benchmarks.makespan --seconds 60         # the same, slower

The queue, the processes and their answers are those of `timecat fit`; the training is a sleep whose length is in
proportion to the member's steps, so that the slots need no GPUs. The members are those of configs/cat5.yaml (five of
80,000 steps) and of configs/table1.yaml (450,000, 200,000, 100,000, 100,000 and 80,000 steps). The best schedule is
found by trying all. It ends with status 1 where a ratio is above 1.10.
"""

import argparse
import itertools
import sys
import tempfile
import time

from timecat.cluster.slots import train_in_slots, work
from timecat.cluster.stop import stop_on_signal
from timecat.study.study import Study

MOST = 1.10
CONFIGS = ("configs/cat5.yaml", "configs/table1.yaml")


def best(seconds: list[float], slots: int) -> float:
    """The shortest makespan of all assignments of members to slots."""
    return min(
        max(sum(s for s, slot in zip(seconds, slots_of, strict=True) if slot == one) for one in range(slots))
        for slots_of in itertools.product(range(slots), repeat=len(seconds))
    )


def serve(seconds: list[float]) -> None:
    """What a slot's process does, without the training."""
    for line in sys.stdin:
        time.sleep(seconds[int(line)])
        print(0, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="of all members of a study together")
    parser.add_argument("--sleeps", help=argparse.SUPPRESS)
    arguments, _ = parser.parse_known_args()
    if arguments.sleeps:
        serve([float(text) for text in arguments.sleeps.split(",")])
        return 0
    worst = 0.0
    print(f"{'members':22}{'slots':>6}{'makespan s':>12}{'ideal s':>9}{'ratio':>7}")
    for config in CONFIGS:
        for slots in (1, 2, 4):
            with tempfile.TemporaryDirectory() as root, stop_on_signal() as stop:
                study = Study.read([config], {"study.root": root, "trainer.devices": 1})
                seconds = [arguments.seconds * plan.steps / study.steps for plan in study.members]
                plans = sorted(study.members, key=work, reverse=True)
                program = (sys.executable, "-m", "benchmarks.makespan", "--sleeps", ",".join(map(str, seconds)))
                started = time.monotonic()
                status = train_in_slots(study, plans, [], slots, stop, program)
                makespan, ideal = time.monotonic() - started, best(seconds, slots)
            if status:
                return status
            worst = max(worst, makespan / ideal)
            print(f"{config:22}{slots:6}{makespan:12.2f}{ideal:9.2f}{makespan / ideal:7.3f}")
    return 0 if worst <= MOST else 1


if __name__ == "__main__":
    sys.exit(main())
