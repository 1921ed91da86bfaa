"""A stratified, seeded split: what is held out of a training set for choosing hyperparameters."""

import numpy as np

from timecat.errors import UserError

SPLIT_SEED = 0  # what is held out is the same for every member and every extractor


def training_split(labels: np.ndarray, subset: int | None, holdout: float, name: str) -> tuple[np.ndarray, np.ndarray]:
    """What of a training file is trained on and what is held out, ascending int64; nothing without holdout.

    Args:
        labels: of the file's images, int64 (n,).
        subset: images that are taken of them all, class by class.
        holdout: share that is held out of these, class by class.

    Raises:
        UserError: as `stratified_split`.
    """
    indices = np.arange(len(labels), dtype=np.int64)
    if subset is not None and subset < len(labels):
        _, indices = stratified_split(labels, subset / len(labels), SPLIT_SEED, name)
    if not holdout:
        return indices, indices[:0]
    kept, out = stratified_split(labels[indices], holdout, SPLIT_SEED, name)
    return indices[kept], indices[out]


def stratified_split(labels: np.ndarray, fraction: float, seed: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Split the indices of `labels` in two, class by class.

    Args:
        labels: int array of shape (n,).
        fraction: share of each class that is held out, in (0, 1); at least one image of every class lands on each side.
        seed: the split is a function of (labels, fraction, seed) alone.
        name: what the labels belong to, for the error.

    Returns:
        (kept, held_out): sorted int64 indices that partition range(n).

    Raises:
        UserError: a class has fewer than two images, or the fraction lies outside (0, 1).
    """
    if not 0.0 < fraction < 1.0:
        raise UserError(f"{name}: a fraction of {fraction} cannot be held out; choose one between 0 and 1")
    rng = np.random.default_rng(seed)
    held_out = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) < 2:
            raise UserError(
                f"{name}: class {label} has one image, so none can be held out; add images or remove the class"
            )
        count = min(max(round(fraction * len(members)), 1), len(members) - 1)
        held_out.append(rng.permutation(members)[:count])
    held = np.sort(np.concatenate(held_out)).astype(np.int64)
    return np.setdiff1d(np.arange(len(labels), dtype=np.int64), held), held
