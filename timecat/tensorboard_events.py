"""TensorBoard's events by its own writer: torch's would import torch.

The values that a run holds are made here, one function a kind; `write_run` writes them.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Values = Iterable[tuple[int, Any]]  # a step, and what one of the functions below gave


def scalar(tag: str, value: float) -> Any:
    """A point of a curve; what stands before the tag's last / is the group of its card."""
    return _summary().Value(tag=tag, simple_value=value)


def image(tag: str, png: bytes) -> Any:
    """A picture, the bytes of a PNG."""
    width, height = int.from_bytes(png[16:20]), int.from_bytes(png[20:24])
    picture = _summary().Image(encoded_image_string=png, width=width, height=height, colorspace=3)
    return _summary().Value(tag=tag, image=picture)


def text(tag: str, markdown: str) -> Any:
    """Text in Markdown; tables may be in it, pictures not."""
    from tensorboard.plugins.text.summary_v2 import text_pb

    return text_pb(tag, markdown).value[0]


def hparams(values: Mapping[str, float | str], name: str) -> Any:
    """What this run is in the HParams tab: its hyperparameters.

    Args:
        name: what tells it from all other runs, equal hyperparameters or not.
    """
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb

    return hparams_pb(dict(values), trial_id=name).value[0]


def experiment(names: Sequence[str], metrics: Mapping[str, str]) -> Any:
    """The columns of the HParams tab, in their order.

    Args:
        names: of the hyperparameters.
        metrics: of scalars by tag, what their columns are called.
    """
    from tensorboard.plugins.hparams.summary_v2 import HParam, Metric, hparams_config_pb

    shown = [Metric(tag, display_name=name) for tag, name in metrics.items()]
    return hparams_config_pb([HParam(name) for name in names], shown).value[0]


def layout(charts: Mapping[str, Mapping[str, str]]) -> Any:
    """The Custom Scalars tab.

    Args:
        charts: of each category by name its charts: by title, a regular expression of the tags whose curves it has.
    """
    from tensorboard.compat.proto.summary_pb2 import SummaryMetadata  # pyright: ignore[reportAttributeAccessIssue]
    from tensorboard.plugins.custom_scalar import layout_pb2, metadata
    from tensorboard.util.tensor_util import make_tensor_proto

    proto: Any = layout_pb2
    categories = [
        proto.Category(
            title=category,
            chart=[
                proto.Chart(title=title, multiline=proto.MultilineChartContent(tag=[tags]))
                for title, tags in of_category.items()
            ],
        )
        for category, of_category in charts.items()
    ]
    content = proto.Layout(category=categories).SerializeToString()
    about = SummaryMetadata.FromString(metadata.create_summary_metadata().SerializeToString())
    return _summary().Value(tag=metadata.CONFIG_SUMMARY_TAG, metadata=about, tensor=make_tensor_proto(content))


def write_run(directory: Path, values: Values) -> None:
    """Write a run's values, dated now, in place of those that were there.

    TensorBoard lists runs, and gives them its seven colours one after the other, in the order in which they were
    written.
    """
    # protobuf makes the classes when they are imported
    from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    before = list(directory.glob("events.out.tfevents.*"))
    writer = EventFileWriter(str(directory), max_queue_size=1000)
    now = time.time()
    for step, value in values:
        writer.add_event(Event(wall_time=now, step=step, summary=_summary()(value=[value])))
    writer.close()
    for path in before:  # a TensorBoard that is open goes on with the new file, and forgets what it has of later steps
        path.unlink(missing_ok=True)


def write_events(directory: Path, tag: str, png: bytes, scalars: Mapping[str, float] | None = None) -> None:
    """Write a run of one picture, the bytes of a PNG, and of scalars by their tags, of step 0."""
    write_run(directory, [(0, image(tag, png)), *((0, scalar(*each)) for each in (scalars or {}).items())])


def _summary() -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]

    return Summary
