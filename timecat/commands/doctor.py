"""`timecat doctor` as it is called."""

from timecat.doctor.doctor import doctor
from timecat.options import parse_options, parser_of


def on_doctor(arguments: list[str]) -> int:
    """Look at this machine; the exit status: 1 where something is broken that timecat cannot work without."""
    if {"-h", "--help"} & set(arguments):
        print(parser_of("doctor").format_help(), end="")
        return 0
    options, _ = parse_options("doctor", arguments)
    return doctor([*options["configs"], *options["config"]], options["json"])
