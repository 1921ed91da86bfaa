"""Results of a data set that others take the place of: kept whole in earlier/<hash>/, and found there again."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from timecat import files
from timecat.study.directory import ProbeDirectory, Protocol
from timecat.study.results import Results, read_stored


def set_aside(directory: ProbeDirectory, protocol: Protocol, keep: bool = False) -> None:
    """Put results, and the predictions, logits and heads that they are of, where no others take their place.

    Args:
        keep: leave them where they are too.
    """
    if not directory.results(protocol).exists():
        return
    record = read_stored(directory.results(protocol))
    place = directory.earlier_results(files.sha256(directory.results(protocol))[:16])
    _carry(directory, place, protocol, record, _link if keep else _move)


def bring_back(directory: ProbeDirectory, protocol: Protocol, are_wanted: Callable[[Results], bool]) -> bool:
    """Put earlier results, the newest that are wanted, to where no results are; whether there are any."""
    for place in directory.all_earlier_results(protocol):
        record = read_stored(place.results(protocol))
        if record and are_wanted(record):
            _carry(place, directory, protocol, record, _move)
            return True
    return False


def _carry(
    here: ProbeDirectory,
    there: ProbeDirectory,
    protocol: Protocol,
    record: Results | None,
    carry: Callable[[Path, Path], None],
) -> None:
    """The results at last: what is stopped before leaves them where they were."""
    for path in _paths(here, protocol, record):
        if path.exists():
            target = there.path / path.relative_to(here.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            carry(path, target)


def _paths(directory: ProbeDirectory, protocol: Protocol, record: Results | None) -> list[Path]:
    cats = record["cats"] if record else {}  # of the first versions, which nothing can be made of
    results = {f"{cat}_{k}": each for cat, of in cats.items() for k, each in of["repetitions"].items()}
    tests = {name for each in results.values() for name in each.get("tests", {})}
    places = [directory, *(directory.test(name) for name in sorted(tests))]
    heads = [directory.head(name, protocol) for name in results]
    logits = [place.logits(name, protocol) for place in places for name in results]
    return [*heads, *logits, *(place.predictions(protocol) for place in places[::-1]), directory.results(protocol)]


def _move(path: Path, target: Path) -> None:
    os.replace(path, target)


def _link(path: Path, target: Path) -> None:
    """No copy of the bytes: nobody writes into a file, others take its name."""
    target.unlink(missing_ok=True)
    try:
        os.link(path, target)
    except OSError:  # a file system without hard links
        shutil.copy2(path, target)
