"""The controls that a sceptic asks for, as cats made of another cat: short, narrow, wide, soup, ensemble."""

import math
from collections.abc import Callable
from dataclasses import replace

from timecat.config.files import StudyFile
from timecat.config.member import WIDTHS, MemberConfig
from timecat.config.study import Equal
from timecat.errors import UserError
from timecat.study import costs
from timecat.study.plan import Alike, Cat


def control(file: StudyFile, name: str, kind: str, of: Cat, baseline: Cat, equal: Equal) -> Cat:
    """The control of this kind of a cat.

    Raises:
        UserError: the cat has no control of this kind.
    """
    where, batch = f"study.cats.{name}.{kind}", file.data.batch_size
    if kind == "soup":
        return replace(of, name=name, soup=True, control=f"the weights of {of.name}'s members averaged")
    if kind == "ensemble":
        words = f"a head on each member of {of.name}, their probabilities averaged"
        return replace(of, name=name, head="ensemble", control=words)
    if len({(str(each.different), each.steps) for each in of.of}) > 1:
        raise UserError(f"{where}: the members of {of.name} differ; take a cat whose members are alike")
    alike, model, resolution = of.of[0], file.member(of.of[0].model, where), file.data.resolution
    if kind == "short":
        one = replace(alike, members=1)
        return Cat(name, (one,), one.steps * batch, control=f"one member as long as {of.name}'s")
    base = baseline.of[0]
    base_model = file.member(base.model, where)
    if kind == "narrow":
        wanted = costs.backbone_flops(base_model, resolution) * baseline.members
        width = _nearest(model, lambda one: of.members * costs.backbone_flops(one, resolution), wanted)
        one = replace(alike, model={**alike.model, "width": width})
        words = f"of the width nearest to {baseline.name} in FLOPs at inference"
        return Cat(name, (one,), of.members * one.steps * batch, control=words)
    wanted = of.members * costs.backbone_parameters(model)
    width = _nearest(model, lambda one: costs.backbone_parameters(one), wanted)
    wide, steps = replace(model, width=width), baseline.total_steps
    words = f"of the width nearest to {of.name} in parameters"
    if equal == "training_flops":
        budget = baseline.total_steps * costs.training_flops(base_model, resolution)
        steps = max(1, round(budget / costs.training_flops(wide, resolution)))
        words += f", as many training FLOPs as {baseline.name}"
    one = Alike(1, steps, {**alike.model, "width": width}, alike.data)
    return Cat(name, (one,), steps * batch, control=words)


def _nearest(model: MemberConfig, cost: Callable[[MemberConfig], float], wanted: float) -> int:
    """The width of which the cost is nearest to what is wanted, as a ratio."""
    return min(WIDTHS, key=lambda width: abs(math.log(cost(replace(model, width=width)) / wanted)))
