"""Sets in which a cue goes with the label: Dominoes, made here; Waterbirds and CelebA from their published files.

A group is a label with a cue. In Dominoes every group is there in full, and a mixture of groups sets how strongly the
cue predicts the label; the other two come with their own proportions.
"""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from timecat import files
from timecat.data.sources.images import Split, grouped, of_arrays, of_files, require
from timecat.errors import UserError

WATERBIRDS, CELEBA = "waterbirds:", "celeba:"
GARMENTS = (2, 4)  # pullover, coat: by their shape alone hard to tell apart
PRETRAINING = 4000  # garments of each kind; the rest of the training set is the target's
PUBLISHED = ("train", "val", "test")  # 0, 1, 2 in both sets' files


def dominoes(garments: Sequence[Split], digits: Sequence[Split]) -> list[Split]:
    """A garment of Fashion-MNIST above a digit, each 28 wide and 14 high; the garment is the label, the digit the cue.

    After the dominoes of Shah et al. 2020 (arXiv 2006.07710) and Kirichenko et al. 2023 (arXiv 2204.02937), where the
    garment stands for the feature that matters and the digit for the one that is easy. Pullover goes with 0, coat with
    1. `train` has 2 x 4,000 garments, each with both digits; `val`, the balanced target, the other 2 x 2,000 garments
    of the training set, half of them with each digit; `test` the 2 x 1,000 test garments, each with both digits.

    Args:
        garments, digits: train and test of Fashion-MNIST and of the digits, images of 28 x 28.
    """
    classes = tuple(garments[0].classes[k] for k in GARMENTS)
    names = tuple(f"{name} above {cue}" for name in classes for cue in (0, 1))
    (train, test), (some, others) = garments, digits
    kinds = [np.flatnonzero(train.labels == k) for k in GARMENTS]
    pretraining = np.concatenate([kind[:PRETRAINING] for kind in kinds])
    target = np.concatenate([kind[PRETRAINING:] for kind in kinds])
    tested = np.flatnonzero(np.isin(test.labels, GARMENTS))
    chosen: list[tuple[str, Split, Split, np.ndarray, np.ndarray]] = [
        ("train", train, some, np.repeat(pretraining, 2), np.tile([0, 1], len(pretraining))),
        ("val", train, some, target, np.arange(len(target)) % 2),
        ("test", test, others, np.repeat(tested, 2), np.tile([0, 1], len(tested))),
    ]
    found = []
    for name, above, below, indices, cues in chosen:
        of_cue = [np.flatnonzero(below.labels == cue) for cue in (0, 1)]
        rows = np.array([of_cue[cue][k % len(of_cue[cue])] for k, cue in enumerate(cues)])
        images = np.stack([_domino(above, below, i, j) for i, j in zip(indices, rows, strict=True)])
        labels = (above.labels[indices] == GARMENTS[1]).astype(np.int64)
        found.append(grouped(of_arrays(name, classes, images, labels), 2 * labels + cues, names))
    return found


def _domino(above: Split, below: Split, i: int, j: int) -> np.ndarray:
    halves = [np.asarray(split.item(int(k)))[..., 0].astype(np.uint16) for split, k in ((above, i), (below, j))]
    return np.concatenate([(half[::2] + half[1::2] + 1) // 2 for half in halves]).astype(np.uint8)


def read_waterbirds(root: Path, wanted: Sequence[str] | None) -> list[Split]:
    """Waterbirds (Sagawa et al. 2020, arXiv 1911.08731): DIR/metadata.csv and the images that it lists, below DIR."""

    def group(row: dict[str, str]) -> tuple[int, int]:
        return int(row["y"]), int(row["place"])

    rows = _table(root / "metadata.csv")
    fields = "img_filename", "split"
    names = "landbird on land", "landbird on water", "waterbird on land", "waterbird on water"
    return _splits(f"{WATERBIRDS}{root}", root, rows, fields, group, ("landbird", "waterbird"), names, wanted)


def read_celeba(root: Path, wanted: Sequence[str] | None) -> list[Split]:
    """CelebA (Liu et al. 2015, arXiv 1411.7766): blond hair or not, the groups by sex, as Sagawa et al. 2020 take it.

    DIR/list_attr_celeba and list_eval_partition, .txt as published or .csv, and DIR/img_align_celeba.
    """
    given = [
        next((p for end in (".txt", ".csv") if (p := root / f"{name}{end}").exists()), root / f"{name}.txt")
        for name in ("list_attr_celeba", "list_eval_partition")
    ]
    attributes, partition = _table(given[0]), _table(given[1], ("image_id", "partition"))
    of_image = {row["image_id"]: row["partition"] for row in partition}
    rows = [
        {**row, "split": of_image.get(row["image_id"], "?"), "file": f"img_align_celeba/{row['image_id']}"}
        for row in attributes
    ]

    def group(row: dict[str, str]) -> tuple[int, int]:
        return int(row["Blond_Hair"] == "1"), int(row["Male"] == "1")

    names = "not blond woman", "not blond man", "blond woman", "blond man"
    return _splits(f"{CELEBA}{root}", root, rows, ("file", "split"), group, ("not blond", "blond"), names, wanted)


def _table(path: Path, header: Sequence[str] | None = None) -> list[dict[str, str]]:
    """The lines of a table, by column: with commas and a first line of names, or with blanks as CelebA publishes it."""
    try:
        lines = files.read_regular(path).decode(errors="replace").splitlines()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); fetch the data set's own") from None
    if path.suffix == ".csv":
        return list(csv.DictReader(lines))
    rows = [line.split() for line in lines if line.strip()]
    if header is None and len(rows) > 1:  # a count, the names of the attributes, then the images
        header, rows = ["image_id", *rows[1]], rows[2:]
    return [dict(zip(header or (), row, strict=False)) for row in rows]


def _splits(
    source: str,
    root: Path,
    rows: list[dict[str, str]],
    fields: tuple[str, str],
    group: Callable[[dict[str, str]], tuple[int, int]],
    classes: tuple[str, str],
    names: tuple[str, ...],
    wanted: Sequence[str] | None,
) -> list[Split]:
    require(source, wanted, PUBLISHED)
    found = []
    try:
        for number, name in enumerate(PUBLISHED):
            mine = [row for row in rows if row[fields[1]] == str(number)]
            if (wanted is not None and name not in wanted) or not mine:
                continue
            both = np.array([group(row) for row in mine], dtype=np.int64)
            paths = [str(root / row[fields[0]]) for row in mine]
            split = of_files(name, classes, paths, both[:, 0], root, f"extract the data set's images to {root}")
            found.append(grouped(split, 2 * both[:, 0] + both[:, 1], names))
    except (KeyError, ValueError):
        raise UserError(f"{source}: its list is not laid out as published; fetch the data set's own") from None
    if not found:
        raise UserError(f"{source}: its list names no image; fetch the data set's own")
    return found
