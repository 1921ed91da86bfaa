"""What the commands on one's own images have in common on the command line."""

import argparse
from typing import Any

from timecat.parser import Parser


def parser_of(command: str, description: str, example: str) -> Parser:
    """A parser of `timecat COMMAND` whose description keeps its lines."""
    return Parser(
        f"timecat {command}",
        description=description,
        epilog=f"example: timecat {command} {example}",
    )


def add_of_outputs(parser: Parser) -> None:
    """What `outputs` takes of how images are put through a cat."""
    add, precisions = parser.add_argument, ("auto", "float32", "tf32", "bfloat16")
    add("--device", metavar="D", help="such as cuda:0 or cpu (default: a GPU where there is one)")
    add("--batch-size", type=int, default=64, metavar="N", help="images at once (default: 64)")
    add("--precision", choices=precisions, default="auto", help="as probe.precision")
    add("--workers", type=int, metavar="N", help="threads that decode (default: one a core)")
    add("--skip-broken", action="store_true", help="leave broken images out and list them, rather than stop")


def of_outputs(options: argparse.Namespace) -> dict[str, Any]:
    """These as keywords of `outputs`."""
    return {key: getattr(options, key) for key in ("device", "batch_size", "precision", "workers", "skip_broken")}
