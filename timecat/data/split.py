"""A stratified, seeded split: what is held out of a training set for choosing hyperparameters."""

from collections.abc import Sequence

import numpy as np

from timecat.errors import UserError

TEST_SEED = 0  # of the test split that a source is given
SPLIT_SEED = 0  # what is held out is the same for every member and every extractor


def stratified_split(
    labels: np.ndarray, fraction: float, seed: int, name: str, classes: Sequence[str] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """Split the indices of `labels` in two, class by class.

    Args:
        labels: int array of shape (n,), each 0 or more.
        fraction: share of each class that is held out, in (0, 1); at least one image of every class lands on each side.
        seed: the split is a function of (labels, fraction, seed) alone.
        name: what the labels belong to, for the error.
        classes: class k's name at place k, for the error too.

    Returns:
        (kept, held_out): sorted int64 indices that partition range(n).

    Raises:
        UserError: a class has fewer than two images, or the fraction lies outside (0, 1).
    """
    if not 0.0 < fraction < 1.0:
        raise UserError(f"{name}: a fraction of {fraction} cannot be held out; choose one between 0 and 1")
    rng = np.random.default_rng(seed)
    if labels.max(initial=0) < 2**15:
        labels = labels.astype(np.int16)  # which numpy sorts by radix, thirty times as fast
    values, counts = np.unique(labels, return_counts=True)
    single = values[counts == 1]
    if len(single):
        raise UserError(f"{name}: {lonely(single, classes)}, so none can be held out; add images or remove the class")
    held_out: list[np.ndarray] = []
    by_class = np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])  # ascending in each
    for members in by_class:
        count = min(max(round(fraction * len(members)), 1), len(members) - 1)
        held_out.append(rng.permutation(members)[:count])
    is_held = np.zeros(len(labels), bool)
    is_held[np.concatenate(held_out)] = True
    return np.flatnonzero(~is_held).astype(np.int64), np.flatnonzero(is_held).astype(np.int64)


def split_together(
    labels: np.ndarray,
    together: np.ndarray,
    fraction: float,
    seed: int,
    name: str,
    classes: Sequence[str] = (),
    at_random: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """As `stratified_split`, of which it is the split where no images belong together; but those that do stay so.

    As many images of each class are held out as there, where images that belong to no other are enough for it; else
    whole groups, of those in whose classes none is too many, and at least one image of each class.

    Args:
        together: int64 (n,), equal for images that belong together, as copies of one image do.
        at_random: hold groups out in any order, rather than those of one image first.

    Raises:
        UserError: as there; or the images of a class cannot be on both sides.
    """
    sizes = np.bincount(together)[together]
    if sizes.max(initial=1) == 1:
        return stratified_split(labels, fraction, seed, name, classes)
    stratified_split(labels, fraction, seed, name, classes)  # for its errors
    rng, counts = np.random.default_rng(seed), np.bincount(labels)
    left = np.where(counts > 0, np.clip(np.rint(fraction * counts), 1, np.maximum(counts - 1, 1)), 0).astype(int)
    kept, held = counts.copy(), np.zeros(len(labels), bool)
    order = np.argsort(together, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(together[order])) + 1)
    group_of = np.empty(len(labels), np.int64)
    for number, group in enumerate(members):
        group_of[group] = number

    def hold_out(group: np.ndarray, most: np.ndarray) -> bool:
        of_class = np.bincount(labels[group], minlength=len(counts))
        if held[group[0]] or (of_class > most).any():
            return False
        held[group] = True
        left[:] -= of_class
        kept[:] -= of_class
        return True

    for label in np.flatnonzero(counts).tolist():
        mine = rng.permutation(np.flatnonzero(labels == label))
        if not at_random:
            mine = mine[np.argsort(sizes[mine] > 1, kind="stable")]
        for i in mine:
            if left[label] > 0:
                hold_out(members[group_of[i]], left)
        if kept[label] == counts[label] and not any(  # the smallest group that leaves an image of each class
            hold_out(members[group_of[i]], kept - 1 + (counts == 0))
            for i in mine[np.argsort(sizes[mine], kind="stable")]
        ):
            what = f"class {label} ({classes[label]})" if label < len(classes) else f"class {label}"
            raise UserError(
                f"{name}: all images of {what} belong together, so none can be held out; add images or remove the class"
            )
    return np.flatnonzero(~held).astype(np.int64), np.flatnonzero(held).astype(np.int64)


def lonely(single: np.ndarray, classes: Sequence[str] = ()) -> str:
    """In words which classes, int (k,), have one image only."""
    names = [f"{label} ({classes[label]})" if label < len(classes) else f"{label}" for label in single[:5].tolist()]
    more = f" and {len(single) - 5:,} more" if len(single) > 5 else ""
    if len(single) == 1:
        return f"class {names[0]} has one image"
    return f"the classes {', '.join(names)}{more} have one image each"
