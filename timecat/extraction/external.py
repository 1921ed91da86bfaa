"""Features that were computed elsewhere: which extractors a config names, their arrays, and which have results."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from timecat import files
from timecat.config.features import SPLITS, FeaturesFile
from timecat.config.section import suggestion
from timecat.data.split import SPLIT_SEED, stratified_split
from timecat.errors import UserError
from timecat.extraction.arrays import open_features, open_whole_numbers
from timecat.extraction.blocks import Block, ExternalCat
from timecat.study.directory import Protocol, StudyDirectory
from timecat.study.protocols import BEFORE
from timecat.study.results import CatResult, Results, head_settings, order_before, read_stored


class ExternalFeatures:
    """What a config of features stands for. Files are read when they are asked for.

    Args:
        only: names of the extractors that are asked for; all by default.

    Attributes:
        extractors: their names, in the order of the report.
        baseline: the one that others are compared with; the first one where the config's is not asked for.

    Raises:
        UserError: no such extractor, or the directory is a study's.
    """

    def __init__(self, file: FeaturesFile, only: list[str] | None = None) -> None:
        self.file, self.config, self.probe, self.name = file, file.features, file.probe, file.features.name
        self.directory = StudyDirectory(Path(self.config.root) / self.name)
        self._hashes: dict[Path, str | None] = {}
        if self.directory.plan.exists():
            raise UserError(f"{self.directory}: is a study's directory; choose another features.name")
        for name in only if only is not None else ():
            if name not in self.config.extractors:
                raise UserError(f"--cats {name}: no such extractor; {suggestion(name, self.config.extractors)}")
        self.extractors = [name for name in self.config.extractors if only is None or name in only]
        if not self.extractors:
            raise UserError(f"--cats names no extractor; there are {', '.join(self.config.extractors)}")
        self.baseline = self.config.baseline or self.extractors[0]
        if self.baseline not in self.extractors:
            self.baseline = self.extractors[0]

    @cached_property
    def labels(self) -> dict[str, np.ndarray]:
        """Of each split, int64 (n,).

        Raises:
            UserError: a file is missing, or its labels make no sense; a class has too few rows to hold one out.
        """
        found = {}
        for split in SPLITS:
            where = f"features.labels.{split}"
            found[split] = open_whole_numbers(self._labels_path(split), where, self.probe.model.num_classes)
            if not len(found[split]):
                raise UserError(f"{self._labels_path(split)}: has no rows; mend {where}")
        single = np.flatnonzero(np.bincount(found["train"]) == 1)
        if len(single):
            raise UserError(
                f"{self._labels_path('train')}: class {single[0]} has one row, so none can be held out; add rows or "
                "remove the class"
            )
        return found

    @cached_property
    def groups(self) -> np.ndarray | None:
        """Of the test rows, int64 (n,); None where the config names none.

        Raises:
            UserError: the file is missing, is not whole numbers, or has another length than the labels.
        """
        if self.config.groups is None:
            return None
        path, rows = self.file.locate(self.config.groups["test"]), len(self.labels["test"])
        groups = open_whole_numbers(path, "features.groups.test")
        if len(groups) != rows:
            raise UserError(
                f"{path}: has {len(groups):,} rows, {self._labels_path('test')} has {rows:,}; write both of the same "
                "rows (features.groups.test)"
            )
        return groups

    def split(self) -> tuple[np.ndarray, np.ndarray]:
        """(rows to train on, rows held out) of the training set, int64, stratified.

        Raises:
            UserError: too few rows for one batch.
        """
        holdout, batch = self.probe.data.holdout, self.probe.data.batch_size
        fit, held = stratified_split(self.labels["train"], holdout, SPLIT_SEED, str(self._labels_path("train")))
        if self.probe.probe.solver == "sgd" and len(fit) < batch:
            raise UserError(
                f"{self._labels_path('train')}: its {len(fit):,} rows that are not held out do not fill one batch of "
                f"{batch:,}; choose a smaller data.batch_size"
            )
        return fit, held

    @cached_property
    def cats(self) -> list[ExternalCat]:
        """What heads are trained on, in the order of the report.

        Raises:
            UserError: a file is missing, or is not what it should be; widths differ.
        """
        needed = {block for name in self.extractors for block in self.config.blocks(name)}
        blocks = {name: self._open(name) for name in self.config.extractors if name in needed}
        return [
            ExternalCat(name, tuple(blocks[block] for block in self.config.blocks(name))) for name in self.extractors
        ]

    def _open(self, name: str) -> Block:
        paths, arrays = self._paths(name), {}
        for split in SPLITS:
            where, rows = f"features.extractors.{name}.{split}", len(self.labels[split])
            arrays[split] = open_features(paths[split], where, rows, self._labels_path(split))
        block = Block(name, arrays, paths)
        if arrays["test"].shape[1] != block.width:
            raise UserError(
                f"{paths['test']}: has {arrays['test'].shape[1]:,} features, {paths['train']} has {block.width:,}; "
                f"write both by the same extractor (features.extractors.{name})"
            )
        return block

    def _labels_path(self, split: str) -> Path:
        return self.file.locate(self.config.labels[split])

    def _paths(self, block: str) -> dict[str, Path]:
        extractor = self.config.extractors[block]
        named = {"train": extractor.train, "test": extractor.test}
        return {split: self.file.locate(file) for split, file in named.items() if file is not None}

    def hashes(self, extractor: str) -> list[str | None]:
        """SHA-256 of the files that an extractor's features lie in, None of a file that is not there."""
        paths = [self._paths(block)[split] for block in self.config.blocks(extractor) for split in SPLITS]
        return [self._sha256(path) for path in paths]

    def label_hashes(self) -> dict[str, Any]:
        """The same of the labels, by split."""
        return {split: self._sha256(self._labels_path(split)) for split in SPLITS}

    def read_results(self, protocol: Protocol) -> Results | None:
        """The results by this protocol, where they are of these labels and of heads as in the config; else None."""
        stored = read_stored(self.directory.probe(self.probe.name).results(protocol))
        if stored is None or stored.get("classes") != self.probe.model.num_classes:
            return None
        heads, labels = head_settings(self.probe, protocol), self.label_hashes()
        before = stored.get("images", {}).get("labels", {})
        if {**heads, **BEFORE, **order_before(stored["train_images"]), **stored["settings"]} != heads:
            return None
        if any(digest not in (None, before.get(split)) for split, digest in labels.items()):
            return None
        return stored

    def result_of(self, results: Results | None, extractor: str) -> CatResult | None:
        """An extractor's result, of its files as they are; of files that are gone it is taken as it is."""
        of_cat = results["cats"].get(extractor) if results is not None else None
        if of_cat is None:
            return None
        result, now = of_cat["repetitions"].get("0"), self.hashes(extractor)
        if result is None:
            return None
        before = result.get("weights", [])
        same = len(before) == len(now) and all(digest in (None, old) for digest, old in zip(now, before, strict=True))
        return result if same else None

    def _sha256(self, path: Path) -> str | None:
        if path not in self._hashes:
            self._hashes[path] = files.sha256(path) if path.is_file() else None
        return self._hashes[path]
