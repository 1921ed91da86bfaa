"""A member is validated after its last step, wherever that falls: no two members are compared at other moments."""

from typing import Any

import lightning as L

from timecat.study.plan import MemberPlan


class LastValidation(L.Callback):
    """Has Lightning validate when the plan's last step is done; members of fewer steps than an interval have no other.

    Lightning does so where it is to stop early, of an epoch in which it validates at all.
    """

    def __init__(self, plan: MemberPlan) -> None:
        self.plan = plan

    def on_train_batch_end(self, trainer: L.Trainer, member: L.LightningModule, *_: Any) -> None:
        if trainer.global_step >= self.plan.steps:
            trainer.check_val_every_n_epoch = None
            trainer.should_stop = True
