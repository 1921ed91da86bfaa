"""A logger that takes what W&B's and MLflow's take, and writes down with what it began."""

import json
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger


class RecordedLogger(Logger):
    """Tells a `run_id` of its own where it is given none."""

    def __init__(
        self,
        record: str,
        name: str | None = None,
        id: str | None = None,
        version: str | None = None,
        project: str | None = None,
        experiment_name: str | None = None,
        run_id: str | None = None,
    ) -> None:
        self.given = {"name": name, "id": id, "project": project, "experiment_name": experiment_name, "run_id": run_id}
        lines = Path(record).read_text().splitlines() if Path(record).exists() else []
        Path(record).write_text("\n".join([*lines, json.dumps(self.given)]) + "\n")
        self.run_id = run_id or f"told {len(lines)}"

    @property
    def name(self) -> str | None:
        return self.given["name"]

    @property
    def version(self) -> str | None:
        return self.given["id"]

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        assert "epoch" not in metrics

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        pass
