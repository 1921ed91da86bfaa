"""The report's picture: top-1 against the number of members, as a file and in TensorBoard."""

import io
from itertools import cycle
from pathlib import Path

from timecat.study.results import Report
from timecat.study.study import TOLERANCE, Study


def picture(study: Study, content: Report, kind: str) -> bytes:
    """Top-1 against the number of members, one panel a data set; cats of another model or budget stand as stars."""
    import matplotlib

    matplotlib.use("agg")
    # text as text, and the same file for the same results
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "timecat"})
    from matplotlib import pyplot

    budget = content["cats"][content["baseline"]]["images"]
    stars = {
        name: name if share == 1 else f"{name}, {share:.3g} x the images"
        for name, row in content["cats"].items()
        if (share := row["images"] / budget) and (row["model"] or not 1 / TOLERANCE <= share <= TOLERANCE)
    }

    names = [data["name"] for data in content["data"]]
    figure, panels = pyplot.subplots(1, len(names), figsize=(4.6 * len(names) + 0.4, 3.8), squeeze=False)
    for panel, name, colour in zip(panels[0], names, cycle(matplotlib.color_sequences["tab10"]), strict=False):
        line = [
            (row["members"], row["acc1"][name])
            for cat, row in content["cats"].items()
            if cat not in stars and name in row["acc1"]
        ]
        line.sort(key=lambda point: point[0])
        members = [point[0] for point in line]
        panel.errorbar(
            members,
            [v["mean"] for _, v in line],
            [v["sd"] or 0.0 for _, v in line],
            marker="o",
            capsize=3,
            color=colour,
            label="cats at the same budget",
        )
        for x, value in line:
            panel.plot([x] * len(value["values"]), value["values"], ".", color=colour, alpha=0.35)
        for (cat, label), marker in zip(stars.items(), "*PDX^v<>", strict=False):
            row = content["cats"][cat]
            if name in row["acc1"]:
                value = row["acc1"][name]
                panel.errorbar(
                    row["members"],
                    value["mean"],
                    value["sd"] or 0.0,
                    marker=marker,
                    markersize=11,
                    capsize=3,
                    linestyle="none",
                    color="black",
                    label=label,
                )
        panel.set_title(name)
        panel.set_xlabel("members")
        panel.set_xticks(sorted({row["members"] for row in content["cats"].values()}))
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(frameon=False, fontsize=8)
    panels[0][0].set_ylabel("linear probe, top-1 %")
    figure.suptitle(f"{study.name}: {budget:,} pretraining images for {content['baseline']}", fontsize=11)
    figure.tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)
    pyplot.close(figure)
    return buffer.getvalue()


def to_tensorboard(directory: Path, png: bytes) -> None:
    """Write the picture as an event; TensorBoard's own writer, since torch's would import torch."""
    # protobuf makes the classes when they are imported
    from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]
    from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    width, height = int.from_bytes(png[16:20]), int.from_bytes(png[20:24])
    image = Summary.Image(encoded_image_string=png, width=width, height=height, colorspace=3)
    writer = EventFileWriter(str(directory))
    writer.add_event(Event(summary=Summary(value=[Summary.Value(tag="report", image=image)]), step=0))
    writer.close()
