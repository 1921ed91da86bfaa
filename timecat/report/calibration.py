"""What the heads' probabilities are worth, from the results on disk."""

import statistics
from collections.abc import Mapping

from timecat.study.reported import Report
from timecat.study.scores import Calibration, CalibrationSummary, Spread
from timecat.tables import Section, Table, spread

NOTE = (
    "calibration: mean ± standard deviation of the repetitions; NLL in nats; ECE of 15 bins; top-1 of the 50, 80 and "
    "90 % of the images that are most confident; AURC: area under the risk-coverage curve; docs/scores.md"
)


def summarise(results: Mapping[str, list[Calibration]]) -> dict[str, CalibrationSummary]:
    """Of each cat whose repetitions all have scores, their mean and deviation."""
    return {
        cat: {
            "nll": _spread([each["nll"] for each in of_cat]),
            "ece": _spread([each["ece"] for each in of_cat]),
            "brier": _spread([each["brier"] for each in of_cat]),
            "selective": {
                share: _spread([each["selective"][share] for each in of_cat]) for share in of_cat[0]["selective"]
            },
            "aurc": _spread([each["aurc"] for each in of_cat]),
        }
        for cat, of_cat in results.items()
        if of_cat
    }


def _spread(values: list[float]) -> Spread:
    sd = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "sd": sd, "values": values}


def calibration_section(content: Report) -> Section | None:
    """A table of each test set whose logits were scored; None where there is none."""
    header = ["cat", "NLL", "ECE %", "Brier", "top-1 of 50 %", "of 80 %", "of 90 %", "AURC %"]
    tables = []
    for name, of_cats in content.get("calibration", {}).items():
        rows = []
        for cat, scores in of_cats.items():
            cells = [_cell(scores["nll"], 3), _cell(scores["ece"], 1), _cell(scores["brier"], 3)]
            cells += [_cell(scores["selective"][share], 1) for share in ("50", "80", "90")]
            rows.append([cat, *cells, _cell(scores["aurc"], 2)])
        tables.append(Table(f"calibration: {name}", header, rows, fold=" ±"))
    return Section("Calibration", tables, [NOTE]) if tables else None


def _cell(value: Spread, digits: int) -> str:
    return spread(value["mean"], value["sd"], digits)
