"""The directory that TensorBoard compares cats in: `tensorboard --logdir <root>/<study>/compare`.

A run for each cat: the mean curves of its members over all repetitions, each member's own, what its heads are worth and
where they are wrong. And a run for the study: config, plan and report as text, images as the networks see them.

TensorBoard ticks no run above 40, and lets no log choose colours: it gives its seven, from the eighth run on again, in
the order in which runs were begun. So runs are written in the order of the config's cats, the study's own after them,
and a cat keeps its colour as long as others are added behind it.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from timecat import files
from timecat.report.collect import results_by_cat
from timecat.report.compare.curves import (
    charts_of_members,
    curves_of,
    level,
    read_curves,
    values_of_heads,
    values_of_members,
)
from timecat.report.compare.hyperparameters import columns, hyperparameters
from timecat.report.compare.pictures import images_seen, pictures_of_heads
from timecat.report.compare.tags import STUDY, top1
from timecat.report.compare.texts import config_text, plan_text, report_text
from timecat.study.cat_costs import costs_of_cats
from timecat.study.directory import ComparisonDirectory, Protocol, read_record, write_record
from timecat.study.progress import lock
from timecat.study.results import CatResult, read_results
from timecat.study.study import Study
from timecat.tensorboard_events import hparams, image, layout, text, write_run

FORM = 1  # of what is written; another one writes it anew


def write_comparison(study: Study, protocol: Protocol = "heldout") -> None:
    """Write it from what there is so far, where that has changed and no other process does.

    Raises:
        UserError: results whose predictions are not there.
    """
    directory, key = study.directory.compare(protocol), _made_of(study, protocol)
    if (read_record(directory.made_of, again=True) or {}).get("key") == key:
        return
    if (held := lock(directory.lock)) is None:
        return
    try:
        _write(study, protocol, directory)
        write_record(directory.made_of, {"key": key})
    finally:
        os.close(held)


def _write(study: Study, protocol: Protocol, directory: ComparisonDirectory) -> None:
    found = _results(study, protocol)
    curves = {plan.name: read_curves(study.directory.member(plan.name).path) for plan in study.members}
    pictures = {
        probe.name: pictures_of_heads(study, probe, protocol, found[probe.name])
        for probe in study.probes
        if probe.name in found
    }
    costs = costs_of_cats(study)
    for cat in study.cats.values():
        of_cat = {data: by_cat[cat.name] for data, by_cat in found.items() if cat.name in by_cat}
        values: list[tuple[int, Any]] = []
        if (of_it := costs[cat.name]) is not None:
            values.append((0, hparams(hyperparameters(study, cat, of_it), cat.name)))
        values += values_of_members(curves_of(study, cat, curves), study.batch_size)
        for data, results in of_cat.items():
            acc1 = [result["acc1"] for result in results.values()]
            values += level(top1(data), sum(acc1) / len(acc1), next(iter(results.values()))["features"])
            values += values_of_heads(data, list(results.values()))
            values.append((len(acc1), pictures[data][1][cat.name]))
        write_run(directory.cat(cat.name), values)
    by_class = [picture for picture, _ in pictures.values()]
    write_run(directory.study, _of_the_study(study, protocol, found, by_class))


def _results(study: Study, protocol: Protocol) -> dict[str, dict[str, dict[str, CatResult]]]:
    """By data set, cat, and the name of the cat in its repetition."""
    found = {}
    for probe in study.probes:
        results = read_results(study, probe, protocol)
        if results is not None and (by_cat := results_by_cat(study, results)):
            found[probe.name] = by_cat
    return found


def _of_the_study(
    study: Study, protocol: Protocol, found: dict[str, dict[str, dict[str, CatResult]]], by_class: list[Any]
) -> Iterable[tuple[int, Any]]:
    """Pictures of the report stand at the number of results that it is of."""
    yield 0, layout({"each member": charts_of_members()})
    yield 0, columns(list(found))
    yield 0, text("config", config_text(study))
    yield 0, text("plan", plan_text(study))
    yield from ((0, picture) for picture in images_seen(study))
    count = sum(len(results) for by_cat in found.values() for results in by_cat.values())
    yield from ((count, picture) for picture in by_class)
    report = study.directory.report(protocol, ".md")
    if report.exists():
        yield count, text("report", report_text(report.read_text()))
    for tag, path in _pictures(study, protocol).items():
        yield count, image(tag, path.read_bytes())


def _pictures(study: Study, protocol: Protocol) -> dict[str, Path]:
    """The report's, by their tag."""
    paths = {
        f"{STUDY}/report, top-1": study.directory.report(protocol, ".png"),
        f"{STUDY}/report, top-1 against costs": study.directory.cost_picture(protocol, ".png"),
    }
    return {tag: path for tag, path in paths.items() if path.exists()}


def _made_of(study: Study, protocol: Protocol) -> str:
    """A hash of the config and of what the runs are made of: results and report by their bytes, events and images by
    their files' names and sizes."""
    read = [study.directory.report(protocol, ".md"), *_pictures(study, protocol).values()]
    read += [study.directory.probe(probe.name).results(protocol) for probe in study.probes]
    seen = [*study.train_files, *(probe.data.files["test"] for probe in study.probes)]
    for plan in study.members:
        seen += sorted(study.directory.member(plan.name).path.glob("events.out.tfevents.*"))
    content = [FORM, config_text(study), list(study.cats)]
    content += [(path.name, files.sha256(path)) for path in read if path.exists()]
    content += [(str(path), path.stat().st_size) for path in seen if path.exists()]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
