"""`timecat tune` as it is called."""

from typing import Any

from timecat.cluster.array_task import numbered_repetition
from timecat.cluster.stop import stop_on_signal
from timecat.config.tune import TuneFile
from timecat.options import parse_options
from timecat.tune.tuning import Tuning


def on_tune(configs: list[str], overrides: dict[str, Any], others: list[str]) -> int:
    """Train a cat further; the exit status."""
    options, _ = parse_options("tune", others)
    tuning = Tuning(TuneFile.read([*configs, *options["configs"]], overrides))
    with stop_on_signal() as stop:  # before the imports, which take seconds
        from timecat.tune.tune import tune

        return tune(tuning, stop, numbered_repetition(options["repetition"]))
