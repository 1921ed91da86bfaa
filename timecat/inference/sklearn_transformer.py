"""A cat as a step of a scikit-learn pipeline."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from timecat.inference.extract import features
from timecat.inference.load import load


class CatFeatures(TransformerMixin, BaseEstimator):
    """Features (n, num_features) float32 of images: files, or uint8 arrays (h, w, 3).

    Nothing is learned: the cat is frozen, and is loaded when features are asked for.

    Args:
        study: as `timecat.load` takes it, and the next three too.
        cat: of the study.
        data: see images as this probe did.
        repetition: of the cat.
        device: as `timecat.features` takes it, and the next two too.
        batch_size: images at once.
        precision: of the networks.
    """

    def __init__(
        self,
        study: str = "runs/demo",
        cat: str = "cat5",
        data: str | None = None,
        repetition: int = 0,
        device: str | None = None,
        batch_size: int = 64,
        precision: str = "auto",
    ) -> None:
        self.study, self.cat, self.data, self.repetition = study, cat, data, repetition
        self.device, self.batch_size, self.precision = device, batch_size, precision

    def fit(self, X: Any, y: Any = None) -> Self:
        """Nothing; X and y are not looked at."""
        return self

    def transform(self, X: Sequence[str | Path | np.ndarray] | np.ndarray) -> np.ndarray:
        """Features (n, num_features) float32 of n images.

        Raises:
            UserError: as `timecat.load` and `timecat.features`.
        """
        cat = load(self.study, self.cat, data=self.data, repetition=self.repetition)
        settings: Any = {"device": self.device, "batch_size": self.batch_size, "precision": self.precision}
        return features(cat, X, **settings).features

    def __sklearn_is_fitted__(self) -> bool:
        return True
