"""The cats that a config names, with their budgets worked out; and those that direct training adds."""

from timecat.config.files import StudyFile, data_name
from timecat.config.section import parse_section, suggestion
from timecat.config.study import AlikeConfig, CatConfig
from timecat.errors import UserError
from timecat.study.plan import Alike, Cat


def make_cat(file: StudyFile, name: str, config: CatConfig) -> Cat:
    """One of study.cats.

    Raises:
        UserError: its budget makes no sense, or it is to be probed on what no probe is of.
    """
    where, batch = f"study.cats.{name}", file.data.batch_size
    if config.of is None:
        if config.members is None:
            raise UserError(f"{where}.members is missing; add it")
        alike = AlikeConfig(config.members, config.steps, config.images, config.model, config.data)
        of = (_alike(alike, batch, where),)
    else:
        own = [key for key in ("members", "steps", "images", "model", "data") if getattr(config, key)]
        if own or not config.of:
            raise UserError(f"{where}: give {', '.join(own) or 'members'} in `of` or without it, not both")
        read = [parse_section(AlikeConfig, each, f"{where}.of.{k}") for k, each in enumerate(config.of)]
        of = tuple(_alike(each, batch, f"{where}.of.{k}") for k, each in enumerate(read))
    names = [data_name(path) for path in file.study.probes]
    for probe in config.probes or ():
        if probe not in names:
            raise UserError(f"{where}.probes: no probe {probe!r} in study.probes; {suggestion(probe, names)}")
    images = sum(each.members * each.steps for each in of) * batch
    return Cat(name, of, images, tuple(config.probes) if config.probes is not None else None, config.head)


def _alike(config: AlikeConfig, batch: int, where: str) -> Alike:
    if (config.steps is None) == (config.images is None):
        raise UserError(f"{where}: give its members' budget once, as steps or as images")
    if config.steps is not None:
        return Alike(config.members, config.steps, dict(config.model), dict(config.data))
    steps, rest = divmod(config.images or 0, batch)
    if rest or not steps:
        below = steps * batch
        choices = f"{below:,} or {below + batch:,}" if below else f"{batch:,}"
        raise UserError(f"{where}.images {config.images:,} is no multiple of the batch {batch:,}; take {choices}")
    return Alike(config.members, steps, dict(config.model), dict(config.data))


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
