"""How long a study's members still train, by the speed of those that train now."""

from timecat.study.costs import training_flops
from timecat.study.plan import MemberPlan
from timecat.study.progress import MemberState
from timecat.study.study import Study


def time_left(study: Study, states: list[tuple[MemberPlan, MemberState]]) -> float | None:
    """Seconds until all are trained, at the FLOPs a second of those that run; None where none has told its speed."""
    left, speed = 0.0, 0.0
    for plan, state in states:
        of_an_image = training_flops(plan.model, plan.data.resolution)
        if state.state != "finished":
            left += of_an_image * study.batch_size * (plan.steps - state.step)
        if state.state == "running" and state.images_per_sec:
            speed += of_an_image * state.images_per_sec
    return left / speed if speed else None
