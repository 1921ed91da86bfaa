"""The members' tasks as SLURM's arrays: one of all, or one for each length, so that short members have short limits.

A member that reaches its time limit saves, is requeued and goes on, so that a limit need not cover it: a short one is
what lets SLURM fit a task into a gap.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from timecat.errors import UserError
from timecat.study.plan import MemberPlan

MARGIN, START, ROUNDED = 1.25, 30, 30  # a quarter more and so many minutes to start, to whole half hours


@dataclass(frozen=True)
class MemberArray:
    """Members that are submitted together.

    Attributes:
        members: their numbers, ascending.
        minutes: time limit of each; that of the script where None.
        at_once: most of them that run at the same time; all where None.
    """

    members: tuple[int, ...]
    minutes: int | None = None
    at_once: int | None = None

    @property
    def throttled(self) -> str:
        return f"%{self.at_once}" if self.at_once else ""

    @property
    def numbers(self) -> str:
        """As --array takes them, such as 0,2-4%2."""
        return ranges(self.members) + self.throttled

    def __str__(self) -> str:
        """As slurm.sh takes it, such as 0,2,3,4%2@12:00:00."""
        limit = f"@{as_time(self.minutes)}" if self.minutes else ""
        return ",".join(map(str, self.members)) + self.throttled + limit


def arrays(
    plans: Sequence[MemberPlan],
    batch_size: int,
    images_per_sec: float | None,
    longest: int | None,
    throttle: int | None = None,
) -> list[MemberArray]:
    """The arrays of these members, the longest first.

    Args:
        images_per_sec: of a member, on all of its devices; without it all are one array with the script's limit.
        longest: minutes that no limit is above; None: none.
        throttle: most members that run at the same time, in all arrays together.
    """
    if not plans:
        return []
    by_limit: dict[int | None, list[int]] = {}
    for plan in plans:
        limit = limit_of(plan.steps * batch_size, images_per_sec, longest) if images_per_sec else None
        by_limit.setdefault(limit, []).append(plan.index)
    found = [MemberArray(tuple(sorted(by_limit[limit])), limit) for limit in sorted(by_limit, key=_descending)]
    return _throttled(found, throttle) if throttle and throttle < len(plans) else found


def limit_of(images: int, images_per_sec: float, longest: int | None) -> int:
    """Minutes that a member of so many images may take."""
    minutes = ROUNDED * math.ceil((MARGIN * images / images_per_sec / 60 + START) / ROUNDED)
    return minutes if longest is None else min(minutes, longest)


def _descending(limit: int | None) -> int:
    return -(limit or 0)


def _throttled(found: list[MemberArray], throttle: int) -> list[MemberArray]:
    """No more arrays than may run members, and each one's part of the throttle, by the work that it has.

    SLURM's % is of one array. Arrays of neighbouring limits are put together where that lengthens limits least.
    """

    def added(pair: int) -> int:
        longer, shorter = found[pair], found[pair + 1]
        return len(shorter.members) * ((longer.minutes or 0) - (shorter.minutes or 0))

    while len(found) > throttle:
        pair = min(range(len(found) - 1), key=added)
        both = found[pair].members + found[pair + 1].members
        found[pair : pair + 2] = [replace(found[pair], members=tuple(sorted(both)))]
    parts = [1] * len(found)
    for _ in range(throttle - len(found)):
        left = [len(array.members) * (array.minutes or 1) / part for array, part in zip(found, parts, strict=True)]
        full = [part >= len(array.members) for array, part in zip(found, parts, strict=True)]
        parts[max(range(len(found)), key=lambda place: (not full[place], left[place]))] += 1
    return [
        replace(array, at_once=part if part < len(array.members) else None)
        for array, part in zip(found, parts, strict=True)
    ]


def ranges(numbers: Sequence[int]) -> str:
    """Numbers as --array takes them, such as 0,2-4."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def as_time(minutes: int) -> str:
    """As --time takes it, such as 1-06:30:00."""
    days, rest = divmod(minutes, 24 * 60)
    return (f"{days}-" if days else "") + f"{rest // 60:02}:{rest % 60:02}:00"


def minutes_of(time: str) -> int | None:
    """Whole minutes of what --time takes: M, M:S, H:M:S, D-H, D-H:M or D-H:M:S; None of no limit.

    Raises:
        UserError: it is none of these.
    """
    if time.upper() in ("UNLIMITED", "INFINITE", "-1"):
        return None
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", time)
    if match is None:
        raise UserError(f"--time {time}: is no time; give it as 12:00:00 or 1-12:00:00")
    days, *parts = (int(part) if part else 0 for part in match.groups())
    given = sum(part is not None for part in match.groups()[1:])
    hours, minutes, seconds = parts if match[1] or given == 3 else (0, *parts[:2])
    return 24 * 60 * days + 60 * hours + minutes + (seconds > 0)
