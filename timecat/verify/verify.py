"""`timecat verify`: every file of a study against its hashes."""

from timecat.errors import UserError
from timecat.progress_bar import bar
from timecat.study.study import Study
from timecat.terminal import print_table, say
from timecat.verify.checks import checks, unchecked


def verify(study: Study) -> int:
    """Read all of it, print a row a kind of file and a line for each that is damaged.

    Returns:
        The exit status: 1 where something is damaged.

    Raises:
        UserError: no study lies there.
    """
    if not study.directory.path.is_dir():
        raise UserError(f"{study.directory}: nothing lies there yet; run `timecat run` first")
    wanted = checks(study)
    wrong: list[tuple[str, str]] = []
    with bar(f"verify {study.name}", sum(check.bytes for check in wanted) / 1e6, "MB") as advance:
        for check in wanted:
            try:
                check.look(lambda count: advance(count / 1e6))
            except UserError as error:
                wrong.append((check.kind, str(error)))
    rows = []
    for kind in dict.fromkeys(check.kind for check in wanted):
        of_kind, damaged = (
            [check for check in wanted if check.kind == kind],
            [each for each, _ in wrong if each == kind],
        )
        size = sum(check.bytes for check in of_kind) / 1e6
        rows.append(
            [kind, f"{len(of_kind):,}", f"{len(of_kind) - len(damaged):,}", f"{len(damaged) or ''}", f"{size:,.1f}"]
        )
    print_table(f"{study.name}: {study.directory}", ["kind", "files", "whole", "damaged", "MB"], rows, left=("kind",))
    for line in dict.fromkeys(line for _, line in wrong):
        say(line)
    if others := unchecked(study, wanted):
        say(f"{others:,} other files have no hash: pictures, events, logs, locks")
    say(f"{len(wrong):,} damaged" if wrong else f"all {len(wanted):,} are whole")
    return 1 if wrong else 0
