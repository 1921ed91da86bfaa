"""`timecat plan` and `timecat status` on features that were computed elsewhere."""

from timecat.extraction.external import ExternalFeatures
from timecat.heads.sweep import groups, head_bytes
from timecat.report.memory import planned_memory
from timecat.study.directory import Protocol
from timecat.terminal import print_table, say


def plan_external(features: ExternalFeatures) -> None:
    """Print the extractors, the heads on them, and in which passes these are trained; arrays' headers are read alone.

    Raises:
        UserError: the arrays make no sense, or one head does not fit in the memory.
    """
    probe, cats = features.probe, features.cats
    fit, held = features.split()
    grid, classes, memory = probe.probe.grid(probe.model.lr), probe.model.num_classes, planned_memory(probe)
    rows = [
        [
            cat.extractor,
            " + ".join(block.name for block in cat.snapshots),
            ", ".join(dict.fromkeys(block.arrays["train"].dtype.name for block in cat.snapshots)),
            f"{cat.features:,}",
            f"{head_bytes(cat.features, classes) * len(grid) / 1e6:,.3g}",
        ]
        for cat in cats
    ]
    header = ["extractor", "of", "type", "features", "heads' MB"]
    title = f"{features.name}: {len(fit):,} rows to train on, {len(held):,} held out, {len(features.labels['test']):,}"
    print_table(f"{title} test rows, {classes:,} classes", header, rows, left=["extractor", "of", "type"])
    blocks = {block.name: block for cat in cats for block in cat.snapshots}
    size = sum(array.nbytes for block in blocks.values() for array in block.arrays.values()) / 1e9
    heads = len(cats) * len(grid)
    say(f"{heads:,} heads ({len(cats)} extractors x {len(grid)} settings); {size:.2g} GB of features")
    if probe.probe.solver == "lbfgs":
        say("lbfgs: one head after the other, each to its optimum")
        return
    if memory is None:
        say("in as few passes as 0.85 of the device's free memory allows (probe.memory_gb)")
        return
    passes = groups(sorted(cats, key=lambda cat: -cat.features), grid, classes, memory.gigabytes)
    shares = [" ".join(cat.extractor for cat in group.cats) for group in passes]
    many = f"{len(passes)} passes" if len(passes) > 1 else "one pass"
    say(f"in {many} of {memory} (probe.memory_gb)" + (f": {' | '.join(shares)}" if len(passes) > 1 else ""))


def status_external(features: ExternalFeatures, protocol: Protocol = "heldout") -> None:
    """Print which extractors have a result of their arrays as they are, and whether there is a report."""
    results = features.read_results(protocol)
    for name in features.extractors:
        result = features.result_of(results, name)
        state = "missing; timecat probe trains its heads" if result is None else f"probed, top-1 {result['acc1']:.1f} %"
        say(f"{name}: {state}")
    report = features.directory.report(protocol, ".md")
    say(f"report: {report if report.exists() else 'missing; timecat report writes it'}")
