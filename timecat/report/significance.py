"""Which differences to the baseline are significant, and what intervals are made by: as the tables show and tell it."""

from timecat.report.estimate import LEVEL, words
from timecat.study.reported import Accuracy, Report

TESTS: dict[str, str] = {
    "images": "by flips of the signs of the images' differences, which tells nothing of other seeds",
    "seeds": "by Student's paired t over the repetitions",
}


def mark(value: Accuracy) -> str:
    """An asterisk behind a difference that is significant after correction."""
    return "*" if value["p_corrected"] is not None and value["p_corrected"] <= LEVEL else ""


def interval_notes(content: Report, images: str = "images") -> list[str]:
    """What the intervals are over, and what the asterisk means.

    Args:
        images: what test sets are made of.
    """
    ways: dict[str, list[str]] = {}
    for data in content["data"]:
        pairs = f"on the same {images}" if data["unit"] == "images" else "repetition by repetition"
        way = f"{words(data['unit'], data['repetitions'], f'test {images}')}; differences paired {pairs}"
        ways.setdefault(way, []).append(data["name"])
    lines = [f"[95 %]{' on ' + ', '.join(names) if len(ways) > 1 else ''}: {way}" for way, names in ways.items()]
    return lines + significance_note(content, images)


def significance_note(content: Report, images: str = "images") -> list[str]:
    """What the asterisk means; nothing where no difference was tested."""
    values = [value for row in content["cats"].values() for value in row["acc1"].values()]
    if all(value["p_corrected"] is None for value in values):
        return []
    units = sorted({data["unit"] for data in content["data"]})
    found = "*: significant" if any(map(mark, values)) else "no difference is significant"
    tests = " or ".join(TESTS[unit].replace("images", images) for unit in units)
    return [f"{found} at {100 * LEVEL:.0f} % after Holm's correction for a data set's differences, {tests}"]
