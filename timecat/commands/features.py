"""The commands on features from elsewhere, whose config has a features section."""

from typing import Any

from timecat.commands.other_classifiers import by_other_classifiers
from timecat.config.features import FeaturesFile
from timecat.errors import UserError
from timecat.extraction.external import ExternalFeatures
from timecat.options import parse_options

ON_FEATURES = ("run", "plan", "status", "probe", "report", "knn", "few-shot")
ALSO_ON_FEATURES = ("cats", "configs", "protocol", "by", "ks", "temperatures", "shots", "draws")  # options


def on_features(command: str, configs: list[str], overrides: dict[str, Any], others: list[str]) -> int:
    """One of the commands that make sense on features from elsewhere; the exit status.

    Raises:
        UserError: the command or an option does not.
    """
    if command not in ON_FEATURES:
        raise UserError(
            f"timecat {command}: makes no sense on features from elsewhere; their config takes {', '.join(ON_FEATURES)}"
        )
    options, _ = parse_options(command, others)
    defaults, _ = parse_options(command, [])
    only, configs, protocol = options["cats"], [*configs, *options["configs"]], options.get("protocol", "heldout")
    for key, value in options.items():
        if key not in ALSO_ON_FEATURES and value != defaults[key]:
            raise UserError(f"--{key.replace('_', '-')}: makes no sense on features from elsewhere; leave it out")
    features = ExternalFeatures(FeaturesFile.read(configs, overrides), only)
    if command == "plan":
        from timecat.report.external_plan import plan_external

        plan_external(features)
    elif command == "status":
        from timecat.report.external_plan import status_external

        status_external(features)
    elif command in ("knn", "few-shot"):
        mine = {key: value for key, value in options.items() if key not in ("cats", "configs")}
        by_other_classifiers(command, features, mine)
    if command in ("probe", "run"):
        from timecat.cluster.stop import until_stopped
        from timecat.heads.external import probe_external

        status = until_stopped(lambda stop: probe_external(features, protocol, stop))
        if status:
            return status
    if command == "probe":
        from timecat.report.external import print_heads

        print_heads(features, protocol)
    elif options.get("by"):
        from timecat.report.breakdown_report import report_by

        report_by(features, protocol, options["by"])
    elif command in ("report", "run"):
        from timecat.report.external import report_external

        report_external(features, protocol)
    return 0
