"""`timecat plan`: what a study trains and costs, before anything is trained."""

from timecat.cluster.arrays import MARGIN, START, arrays, as_time
from timecat.cluster.few_cores import say_of_few_cores
from timecat.cluster.scripts import longest_minutes
from timecat.cluster.slots import say_of_slow_bf16
from timecat.config.files import ProbeFile
from timecat.config.probe import BYTES
from timecat.data import global_batch
from timecat.data.beton import count_images
from timecat.data.count import train_images
from timecat.data.missing import missing_files, no_source
from timecat.data.mixture import in_words
from timecat.heads.sweep import groups, head_bytes, largest_first
from timecat.report.cost_table import cost_table
from timecat.report.memory import planned_memory
from timecat.study.cat_costs import costs_of_cats
from timecat.study.seen_otherwise import seen_otherwise
from timecat.study.study import Study
from timecat.terminal import duration, print_table, say


def plan(study: Study, images_per_sec: float | None = None, nodes: int = 1, devices: int | None = None) -> None:
    """Print the study's cats with their budgets, and its members with their snapshots, on so many devices each."""
    counts = [(data, train_images(data)) for data in study.all_data]
    images = {plan.index: next(count for data, count in counts if data == plan.data) for plan in study.members}
    images_of = {cat.cat.name: images[cat.trained[0].plan.index] for cat in study.seeded_cats() if cat.trained}
    cats = [
        [
            cat.name,
            str(cat.members),
            " + ".join(f"{each.steps:,}" for each in cat.of),
            f"{cat.total_steps:,}",
            f"{cat.images:,}" if cat.images else "?",
            _epochs(cat.steps * study.batch_size, images_of.get(cat.name)),
            f"{share:.3f}" if (share := study.share(cat)) else "?",
        ]
        for cat in study.cats.values()
    ]
    header = ["cat", "members", "steps each", "steps", "images", "epochs", f"of {study.baseline}'s"]
    print_table(f"{study.name}: cats, global batch {study.batch_size:,}", header, cats, left=["cat"])
    different: dict[str, list[str]] = {}
    for cat in study.cats.values():
        different.setdefault(cat.difference, []).append(cat.name)
    for what, names in different.items():
        if what:
            say(f"{', '.join(names)}: {what}")
    cost_table(costs_of_cats(study), study.baseline).show()
    if study.repetitions > 1:
        say(f"{study.repetitions} repetitions of each cat, with different seeds")
    members = []
    for member in study.members:
        seen = member.steps * study.batch_size
        cost = [f"{seen / images_per_sec / 3600:.1f}"] if images_per_sec else []
        snapshots = ", ".join(f"{step:,}" for step in member.snapshots)
        epochs = _epochs(seen, images[member.index])
        members.append([str(member.index), member.name, str(member.seed), f"{seen:,}", epochs, *cost, snapshots])
    hours = ["GPU-hours"] if images_per_sec else []
    header = ["member", "directory", "seed", "images", "epochs", *hours, "snapshots at step"]
    if members:
        print_table("members to train", header, members, left=["directory", "snapshots at step"])
    total = study.steps * study.batch_size
    say(f"{study.steps:,} steps in all, {total:,} images")
    devices = devices or study.trainer.devices_per_member
    sharing = (study.batch_size, study.data.device_batch_size, nodes, devices, study.model.ghost_batch_size)
    say(global_batch.in_words(*sharing))
    if study.horizon:
        say("the schedule has a horizon, so no snapshot is shared between cats of different lengths")
    elif study.steps != study.steps_unshared:
        say(f"runs share snapshots: without sharing it would be {study.steps_unshared:,} steps")
    if images_per_sec:
        say(
            f"{total / images_per_sec / 3600:,.1f} GPU-hours at {images_per_sec:,.0f} images/s; "
            f"one GPU per member: {duration(_longest(study) / images_per_sec)}"
        )
        say(_time_limits(study, images_per_sec * nodes * devices))
    for line in in_words(study.data, study.batch_size):
        say(line)
    say_of_slow_bf16(study)
    say_of_few_cores(study, devices)
    for probe in study.probes:
        say(_probe_plan(study, probe))
        if differs := seen_otherwise(study, probe):
            say(differs)
    for path, origin in missing_files([*study.all_data, *(probe.data for probe in study.probes)]).items():
        if origin is None:
            say(str(no_source(path)))


def _probe_plan(study: Study, probe: ProbeFile) -> str:
    """What a data set's probes compute: features, heads, and in which passes the heads are trained."""
    classes, data = probe.model.num_classes, probe.data
    grid, cats = probe.probe.grid(probe.model.lr), largest_first(study, probe.name)
    memory = planned_memory(probe)
    passes = groups(cats, grid, classes, memory.gigabytes) if memory else []
    snapshots = {snapshot.name: snapshot for cat in cats for snapshot in cat.snapshots}
    words = f"probe {probe.name}: features of {len(snapshots)} snapshots"
    images = {split: count_images(path) for split, path in data.files.items() if split != "val" and path.exists()}
    if "train" in images and "test" in images:
        tested = sum(count for split, count in images.items() if split != "train")
        train = min(data.subset or images["train"], images["train"])
        seen = train * max(1, probe.probe.views) + tested
        seen += round(train * data.holdout) if probe.probe.views else 0
        size = sum(snapshot.width for snapshot in snapshots.values()) * seen * BYTES[probe.probe.storage] / 1e9
        forwards = len(snapshots) * seen
        words += f" x {seen:,} images = {forwards:,} forward passes, {size:.2g} GB on the disk"
    total = len(cats) * len(grid)
    size = sum(head_bytes(cat.features, classes) for cat in cats) * len(grid) / 1e9
    counted = f"{len(cats)} cat{'s' * (len(cats) > 1)} x {len(grid)} settings"
    words += f"; {total:,} heads ({counted}, {classes:,} classes, {size:.2g} GB)"
    if probe.probe.logits and "test" in images:
        tested = sum(count for split, count in images.items() if split != "train")
        kept = sum(4 * cat.features for cat in cats if cat.cat.head != "own") + 2 * tested * len(cats)
        words += f", {classes * kept / 1e9:.2g} GB of chosen heads and logits kept;"
    if memory is None:
        return f"{words} in as few passes as 0.85 of the device's free memory allows (probe.memory_gb)"
    if len(passes) == 1:
        return f"{words} in one pass of {memory}"
    shares = [
        " ".join(cat.name if study.repetitions > 1 else cat.cat.name for cat in group.cats)
        + (f" ({len(group.grid)} settings)" if len(group.grid) < len(grid) else "")
        for group in passes
    ]
    return f"{words} in {len(passes)} passes of {memory}: {' | '.join(shares)}"


def _time_limits(study: Study, images_per_sec: float) -> str:
    """The arrays that `timecat launch` makes of the members at this speed."""
    longest = longest_minutes({})
    found = arrays(study.members, study.batch_size, images_per_sec, longest)
    limits = "; ".join(f"{as_time(array.minutes or 0)} for {array.numbers}" for array in found)
    most = "" if longest is None else f", at most the script's {as_time(longest)}"
    return f"SLURM's time limits by timecat launch --images-per-sec ({MARGIN:g} times and {START} min{most}): {limits}"


def _longest(study: Study) -> int:
    return max((member.steps for member in study.members), default=0) * study.batch_size


def _epochs(seen: int, images: int | None) -> str:
    return f"{seen / images:,.2f}" if images else "?"
