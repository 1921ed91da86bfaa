"""The cats that a config names, with their budgets worked out; and those that direct training adds."""

from dataclasses import replace
from glob import glob
from pathlib import Path

from timecat.config.files import StudyFile, data_name
from timecat.config.paths import places as looked_in
from timecat.config.section import parse_section, suggestion
from timecat.config.study import CONTROLS, AlikeConfig, CatConfig
from timecat.config.types import MAX_MEMBERS
from timecat.errors import UserError, shown
from timecat.study.controls import control
from timecat.study.plan import Alike, Cat, Elsewhere, has_horizon, places, total_steps

MEMBERS = ("members", "steps", "images", "model", "data")


def make_cats(file: StudyFile) -> dict[str, Cat]:
    """The cats of study.cats by name, controls among them.

    Raises:
        UserError: a budget makes no sense, a control is of no cat, or a cat is to be probed on what no probe is of.
    """
    configs = file.study.cats
    cats = {name: _cat(file, name, config) for name, config in configs.items() if not _controlled(config)}
    baseline = file.study.baseline or next(iter(configs))
    left = {name: config for name, config in configs.items() if name not in cats}
    while left:  # a control of a control waits for it
        ready = [name for name, config in left.items() if getattr(config, _controlled(config)[0]) in cats]
        if not ready:
            name, config = next(iter(left.items()))
            key = _controlled(config)[0]
            of = getattr(config, key)
            raise UserError(
                f"study.cats.{name}.{key}: no cat {shown(of)} beside it; {suggestion(of, {*cats} - {name})}"
            )
        for name in ready:
            cats[name] = _control(file, name, left.pop(name), cats, baseline)
    return {name: cats[name] for name in configs}


def _controlled(config: CatConfig) -> list[str]:
    """The keys by which it is a control of another cat."""
    return [key for key in CONTROLS if getattr(config, key) is not None]


def _control(file: StudyFile, name: str, config: CatConfig, cats: dict[str, Cat], baseline: str) -> Cat:
    key, *others = [*_controlled(config), *_given(config, (*MEMBERS, "of", "snapshots", "weights", "backbone"))]
    where = f"study.cats.{name}"
    if others:
        raise UserError(f"{where}: {others[0]} makes no sense beside {key}, which takes another cat's; remove one")
    if config.head != "linear":
        raise UserError(f"{where}.head: {key} brings its own; remove it")
    if config.equal != "parameters" and key != "wide":
        raise UserError(f"{where}.equal is of `wide` alone; remove it")
    of = cats[getattr(config, key)]
    if of.elsewhere and key != "ensemble":
        raise UserError(f"{where}.{key}: {of.name} was trained elsewhere; take a cat of this study's members")
    if of.soup or of.project or of.head != "linear":
        raise UserError(f"{where}.{key}: {of.name} is a control itself; take a cat that is not")
    if baseline not in cats and key in ("narrow", "wide"):
        raise UserError(f"{where}.{key} is made for the baseline, and {baseline} is a control itself; set another one")
    made = control(file, name, key, of, cats.get(baseline, of), config.equal)
    return _finish(file, made, config)


def _cat(file: StudyFile, name: str, config: CatConfig) -> Cat:
    where, batch = f"study.cats.{name}", file.data.batch_size
    if config.equal != "parameters":
        raise UserError(f"{where}.equal is of `wide` alone; remove it")
    kinds = [key for key in ("of", "snapshots", "weights") if getattr(config, key) is not None]
    if len(kinds) > 1:
        raise UserError(f"{where}: {kinds[1]} makes no sense beside {kinds[0]}; remove one of them")
    kind = kinds[0] if kinds else "members"
    taken = {"members": MEMBERS, "of": (), "snapshots": ("model", "data"), "weights": ("model", "images", "backbone")}
    own = [key for key in _given(config, (*MEMBERS, "backbone", "features")) if key not in (*taken[kind], "features")]
    if own:
        raise UserError(f"{where}: give {', '.join(own)} in `{kind}` or without it, not both")
    if (config.backbone is None) != (config.features is None):
        raise UserError(f"{where}: backbone and features belong together: of which network, and how many it gives")
    if kind == "weights":
        return _finish(file, _elsewhere(file, name, config), config)
    if kind == "members":
        if config.members is None:
            raise UserError(f"{where}.members is missing; add it")
        alike = AlikeConfig(config.members, config.steps, config.images, config.model, config.data)
        of = (_alike(alike, batch, where),)
    elif kind == "snapshots":
        steps = config.snapshots or []
        if not steps or len(set(steps)) < len(steps):
            raise UserError(f"{where}.snapshots is {shown(steps)}; name different steps of the run")
        of = tuple(Alike(1, step, dict(config.model), dict(config.data), first=0) for step in steps)
    else:
        if not config.of:
            raise UserError(f"{where}.of names no members; add one, such as {{members: 1, steps: 100}}")
        read = [parse_section(AlikeConfig, each, f"{where}.of.{k}") for k, each in enumerate(config.of)]
        of = tuple(_alike(each, batch, f"{where}.of.{k}") for k, each in enumerate(read))
    if sum(each.members for each in of) > MAX_MEMBERS:
        raise UserError(f"{where} has {sum(each.members for each in of):,} members; take {MAX_MEMBERS:,} at most")
    cat = Cat(name, of, total_steps(of) * batch)
    _check_snapshots(file, cat, where)
    return _finish(file, cat, config)


def _given(config: CatConfig, keys: tuple[str, ...]) -> list[str]:
    return [key for key in keys if getattr(config, key) not in (None, {})]


def _finish(file: StudyFile, cat: Cat, config: CatConfig) -> Cat:
    """The cat with the keys that any kind takes."""
    where, names = f"study.cats.{cat.name}", [data_name(path) for path in file.study.probes]
    for probe in config.probes or ():
        if probe not in names:
            raise UserError(f"{where}.probes: no probe {shown(probe)} in study.probes; {suggestion(probe, names)}")
    head = cat.head if config.head == "linear" else config.head
    if head == "own" and config.backbone:
        raise UserError(f"{where}.head: the classifier of {config.backbone} is left out; take linear")
    if config.project and head != "linear":
        raise UserError(f"{where}.project: a head of its own kind ({head}) reads no projection; remove one of them")
    if config.projection != "pca" and not config.project:
        raise UserError(f"{where}.projection says how, not to how many features; add project: 128")
    probes = tuple(config.probes) if config.probes is not None else None
    return replace(cat, probes=probes, head=head, project=config.project, projection=config.projection)


def _check_snapshots(file: StudyFile, cat: Cat, where: str) -> None:
    """Different snapshots, and of one run only where it passes through shorter members.

    Raises:
        UserError: they are not.
    """
    members = [(each.different, place, each.steps) for each, place in places(cat.of)]
    for number, (different, place, steps) in enumerate(members):
        for other, same, length in members[:number]:
            if (other, same) != (different, place):
                continue
            if length == steps:
                raise UserError(f"{where}: takes the seed at {place} at step {steps:,} twice; name different snapshots")
            if has_horizon(file.member(different[0], where), file.data):
                raise UserError(
                    f"{where}: snapshots of one run, but its schedule has a horizon, so that earlier states are no "
                    "members; choose a constant one, or schedule_free_adamw"
                )


def _elsewhere(file: StudyFile, name: str, config: CatConfig) -> Cat:
    where, found = f"study.cats.{name}", []
    for pattern in config.weights or ():
        matches = next((paths for each in looked_in(pattern, file.folders) if (paths := sorted(glob(str(each))))), None)
        if matches is None:
            raise UserError(f"{where}.weights: {pattern}: no such file, from the config or the working directory")
        found += [Path(path) for path in matches]
    if not found:
        raise UserError(f"{where}.weights names no file; name the members' weights")
    model = file.member(config.model, f"{where}.model")
    members = tuple(Elsewhere(path, config.backbone, config.features, model, file.data) for path in found)
    return Cat(name, (), config.images or 0, elsewhere=members)


def _alike(config: AlikeConfig, batch: int, where: str) -> Alike:
    if (config.steps is None) == (config.images is None):
        raise UserError(f"{where}: give its members' budget once, as steps or as images")
    if config.steps is not None:
        return Alike(config.members, config.steps, dict(config.model), dict(config.data), config.first)
    steps, rest = divmod(config.images or 0, batch)
    if rest or not steps:
        below = steps * batch
        choices = f"{below:,} or {below + batch:,}" if below else f"{batch:,}"
        raise UserError(f"{where}.images {config.images:,} is no multiple of the batch {batch:,}; take {choices}")
    return Alike(config.members, steps, dict(config.model), dict(config.data), config.first)


def direct_cats(file: StudyFile, cats: dict[str, Cat], baseline: str) -> dict[str, Cat]:
    """For each component two cats of one member: as many images as the baseline's, and its share of them.

    Raises:
        UserError: there is no mixture, a component has no probe of its name, or a cat has the name of one of these.
    """
    if not file.data.mixture:
        raise UserError("study.direct trains on each component of data.mixture: add a mixture, or remove it")
    base, names = cats[baseline], [data_name(path) for path in file.study.probes]
    written = {str(name): component for name, component in file.written["data"]["mixture"].items()}
    found: dict[str, Cat] = {}
    for name, share in file.data.shares.items():
        if name not in names:
            raise UserError(
                f"study.direct: component {name} has no probe of its name in study.probes ({', '.join(names)}); "
                "name one alike"
            )
        data = {"mixture": {name: {**written[name], "weight": 1}}}
        for called, steps in (
            (f"direct-{name}", base.total_steps),
            (f"share-{name}", max(1, round(base.total_steps * share))),
        ):
            if called in cats:
                raise UserError(f"study.cats.{called}: study.direct makes a cat of this name; choose another")
            alone, images = Alike(1, steps, dict(base.model), data), steps * file.data.batch_size
            of_share = called.startswith("share-")
            found[called] = Cat(called, (alone,), images, (name,), direct=name, of_share=of_share)
    return found
