"""Pictures and numbers for TensorBoard, by its own writer: torch's would import torch."""

from collections.abc import Mapping
from pathlib import Path


def write_events(directory: Path, tag: str, png: bytes, scalars: Mapping[str, float] | None = None) -> None:
    """Write a picture, the bytes of a PNG, and scalars by their tags, as events of step 0."""
    # protobuf makes the classes when they are imported
    from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]
    from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    width, height = int.from_bytes(png[16:20]), int.from_bytes(png[20:24])
    image = Summary.Image(encoded_image_string=png, width=width, height=height, colorspace=3)
    values = [Summary.Value(tag=tag, image=image)]
    values += [Summary.Value(tag=name, simple_value=value) for name, value in (scalars or {}).items()]
    writer = EventFileWriter(str(directory))
    writer.add_event(Event(summary=Summary(value=values), step=0))
    writer.close()
