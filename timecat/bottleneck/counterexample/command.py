"""The command `timecat bottleneck counterexample`: its options, help and files."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from timecat.errors import UserError
from timecat.parser import Parser

_DESCRIPTION = """\
The argument for concatenation, on four points, in seconds. Four tasks P[1] to
P[4] are mixed with the given weights. Two features are to be had: phi1 is all
that P[1] and P[2] need, phi2 all that P[3] and P[4] need. The best linear
classifier on the mixture can do with one of them, and whoever keeps that one
alone errs on two of the tasks, whatever head is refit on it.

1. exact: the risks, by enumeration of all affine classifiers
2. a sparse linear learner (hinge or logistic loss, L1 penalty)
3. small networks trained by SGD from many seeds, alone and concatenated at
   equal steps, against networks trained directly on each task

docs/bottleneck.md derives it, and says what is the paper's and what is ours.
"""

_EPILOG = """\
Writes counterexample.json (every number), .png and .svg to DIR. The same
command prints the same numbers.

example: timecat bottleneck counterexample --weights 0.4 0.3 0.2 0.1
"""


MOST = 100_000  # seeds, or steps, whose draws are in memory


def main(arguments: Sequence[str]) -> int:
    """The command `timecat bottleneck counterexample`; returns 0. Raises UserError on bad input, before any work."""
    parser = Parser(
        "timecat bottleneck counterexample",
        usage="timecat bottleneck counterexample [options]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    add = parser.add_argument
    weights = ["0.4", "0.3", "0.2", "0.1"]
    add("--weights", nargs="+", default=weights, metavar="L", help="lambda of P[1] to P[4] (0.4 0.3 0.2 0.1)")
    add("--seeds", default="400", metavar="N", help="small networks of each kind, seeds 0 to N - 1 (400)")
    add("--steps", default="1200", metavar="T", help="of one network; cats of n have T / n each (1200)")
    add("--weight-decay", default="0.02", metavar="W", help="of the small networks (0.02)")
    add("--margin", default="0.02", metavar="M", help="least margin of a refit head, of the spread (0.02)")
    add(
        "--out",
        type=Path,
        default=Path("runs/counterexample"),
        metavar="DIR",
        help="for the files (runs/counterexample)",
    )
    options = parser.parse_args(arguments)
    given = _weights(options.weights)
    seeds, steps = _count("--seeds", options.seeds, 1), _count("--steps", options.steps, 4)
    weight_decay = _number("--weight-decay", options.weight_decay, most=1)
    margin = _number("--margin", options.margin, most=1)
    out: Path = options.out
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {out}: {error.strerror}; name another directory") from None
    _run(given, seeds, steps, weight_decay, margin, out)
    return 0


def _run(given: list[float], seeds: int, steps: int, weight_decay: float, margin: float, out: Path) -> None:
    import numpy as np

    from timecat.bottleneck.counterexample.mixture import exact
    from timecat.bottleneck.counterexample.outcome import WIDTHS, measure
    from timecat.bottleneck.counterexample.picture import picture
    from timecat.bottleneck.counterexample.sparse import path
    from timecat.bottleneck.counterexample.tables import print_exact, print_networks, print_sparse
    from timecat.files import write_bytes, write_json
    from timecat.progress_bar import bar
    from timecat.terminal import say

    total = math.fsum(weight / max(given) for weight in given)  # their own sum may be beyond float64
    weights = np.array([weight / max(given) / total for weight in given])
    if not math.isclose(total * max(given), 1, rel_tol=1e-9):
        before, after = (" ".join(f"{weight:.6g}" for weight in some) for some in (given, weights))
        say(f"weights {before} sum to {total * max(given):.6g}: taken as {after}")
    risks = exact(weights)
    print_exact(risks)
    paths = {loss: path(loss, weights) for loss in ("hinge", "logistic")}
    print_sparse(paths)
    with bar("training small networks", seeds * steps * len(WIDTHS), "steps") as advance:
        outcome = measure(weights, seeds, steps, weight_decay, margin, advance)
    print_networks(outcome, seeds, margin)

    words = " ".join(f"{weight:.6g}" for weight in given)
    command = f"timecat bottleneck counterexample --weights {words} --seeds {seeds} --steps {steps}"
    command += f" --weight-decay {weight_decay:g} --margin {margin:g}"
    content: dict[str, Any] = {
        "command": command,
        "exact": {
            **asdict(risks),
            "gap": {name: risks.gap(name) for name in risks.transfer},
        },
        "sparse": {loss: [asdict(part) for part in parts] for loss, parts in paths.items()},
        "networks": {
            **asdict(outcome),
            "cats": [
                {**asdict(one), "risk": one.risk, "interval": one.interval, "gap": outcome.gap(one)}
                for one in outcome.cats
            ],
        },
    }
    write_json(out / "counterexample.json", _plain(content))
    for kind in ("png", "svg"):
        write_bytes(out / f"counterexample.{kind}", picture(risks, outcome, seeds, command, kind))
    print()
    say(f"every number: {out / 'counterexample.json'}")
    say(f"picture: {out / 'counterexample.png'} and .svg")


def _plain(content: Any) -> Any:
    """The content with lists for arrays, which JSON has."""
    if isinstance(content, dict):
        return {key: _plain(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_plain(value) for value in content]
    return content.tolist() if hasattr(content, "tolist") else content


def _weights(words: list[str]) -> list[float]:
    if len(words) != 4:
        raise UserError(f"--weights takes four numbers, one for each of P[1] to P[4]; {len(words)} are given")
    weights = [_number("--weights", word) for word in words]
    if not any(weights):
        raise UserError("--weights are all 0; at least one must be above 0")
    return weights


def _number(option: str, word: str, most: float = math.inf) -> float:
    try:
        number = float(word)
    except ValueError:
        number = math.nan
    if not 0 <= number <= most or math.isinf(number):
        bounds = "a finite number of 0 or more" if math.isinf(most) else f"a number from 0 to {most:g}"
        raise UserError(f"{option}: {word!r} is not {bounds}")
    return number


def _count(option: str, word: str, least: int) -> int:
    if not (word.isascii() and word.isdigit()) or not least <= int(word) <= MOST:
        raise UserError(f"{option}: {word!r} is not a whole number from {least} to {MOST:,}")
    return int(word)
