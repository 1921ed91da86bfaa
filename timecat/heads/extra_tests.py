"""A chosen head on the further test sets of its data set: each is read once, whenever it is added to the config."""

import hashlib
import json
from pathlib import Path

import numpy as np

from timecat.extraction.extra_tests import ExtraTest
from timecat.extraction.extract import FeatureStore
from timecat.extraction.projection import projected
from timecat.heads.calibration import calibration
from timecat.heads.kept_logits import read_logits, write_logits
from timecat.heads.linear_head import KeptHead, load_head
from timecat.heads.ood import auroc, sureness
from timecat.heads.own_head import own_logits
from timecat.heads.passes import Logits, Passes
from timecat.heads.predictions import read_predictions, write_predictions
from timecat.heads.scores import scores
from timecat.study.directory import ProbeDirectory, Protocol
from timecat.study.plan import SeededCat
from timecat.study.results import CatResult, missing_tests
from timecat.study.scores import ExtraTestResult, extra_settings
from timecat.study.study import Study


class ExtraTests:
    """The further test sets of one data set, and which heads have read them.

    Args:
        tests: all of them.
    """

    def __init__(
        self, study: Study, store: FeatureStore, tests: list[ExtraTest], directory: ProbeDirectory, protocol: Protocol
    ) -> None:
        self.study, self.store, self.tests, self.directory = study, store, tests, directory
        self.protocol: Protocol = protocol
        self._settings = extra_settings(store.probe.data)

    def missing(self, cat: SeededCat, result: CatResult) -> list[ExtraTest]:
        """Those that the head of a result has not read, as they are now."""
        told, read = missing_tests(self.store.probe, result), result.get("tests", {})
        return [
            test
            for test in self.tests
            if test.name in told or read[test.name]["key"] != self._key(test, cat) or not self._holds(test, cat)
        ]

    def can_read(self, cat: SeededCat, result: CatResult) -> bool:
        """Whether what is missing can be read without training the head again."""
        missing = self.missing(cat, result)
        head = "head_sha256" in result and self.directory.head(cat.name, self.protocol).exists()
        logits = self.directory.logits(cat.name, self.protocol).exists()
        kept = head or cat.cat.head == "own"
        return not missing or (kept and (logits or not any(test.ood for test in missing)))

    def read(
        self,
        passes: Passes,
        cat: SeededCat,
        result: CatResult,
        predicted: np.ndarray,
        head: KeptHead | None = None,
        logits: np.ndarray | None = None,
    ) -> None:
        """Put into a result what its head is worth on what it has not read, and keep what it predicts.

        Args:
            predicted: of data.test's images, int32 (n,).
            head, logits: the chosen one, where it is not the members' own, and its logits of data.test's images; those
                that were kept where not given.

        Raises:
            UserError: what was kept is not what the result tells of.
        """
        if not (missing := self.missing(cat, result)):
            return
        of = self._logits(passes, cat, result, head)
        found = result.setdefault("tests", {})
        for test in missing:
            predictions, in_top5, of_test = passes.read(projected(cat), of, test.part, test.labels, test.among)
            done: ExtraTestResult = {
                "settings": self._settings[test.name],
                "key": self._key(test, cat),
                "images": len(test.labels),
                "classes": passes.classes if test.among is None else len(test.among),
            }
            if test.ood:
                if logits is None:
                    logits = read_logits(self.directory.logits(cat.name, self.protocol), predicted)
                own, other = sureness(logits), sureness(of_test)
                done["auroc"] = {score: auroc(own[score], other[score]) for score in own}
                is_other = np.repeat([False, True], [len(logits), len(of_test)])
                kept = {f"{cat.name}_{score}": np.concatenate([own[score], other[score]]) for score in own}
                self._keep(test, {"ood": is_other, **kept})
            else:
                columns = np.arange(passes.classes) if test.among is None else test.among
                done["scores"] = scores(predictions, in_top5, test.labels, passes.classes)
                done["calibration"] = calibration(of_test[:, columns], np.searchsorted(columns, test.labels))
                arrays = {"labels": test.labels, cat.name: predictions, f"{cat.name}_top5": in_top5}
                self._keep(test, arrays)
            path = self.directory.test(test.name).logits(cat.name, self.protocol)
            path.unlink(missing_ok=True)
            if passes.probe.probe.logits:
                write_logits(path, of_test)
            found[test.name] = done

    def _logits(self, passes: Passes, cat: SeededCat, result: CatResult, head: KeptHead | None) -> Logits:
        if cat.cat.head == "own":
            return own_logits(passes, self.study, cat)
        if head is None:
            head = load_head(self.directory.head(cat.name, self.protocol), result.get("head_sha256", ""))
        return head.to(passes.device).logits

    def _key(self, test: ExtraTest, cat: SeededCat) -> str:
        """A hash of what results are a function of, beside the head; of a set that is ood, data.test's images too."""
        parts = [test.part, self.store.parts["test"]] if test.ood else [test.part]
        features = [self.store.key(part, snapshot) for part in parts for snapshot in cat.snapshots]
        content = [features, hashlib.sha256(test.labels.tobytes()).hexdigest(), test.among is None]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def _path(self, test: ExtraTest) -> Path:
        return self.directory.test(test.name).predictions(self.protocol)

    def _holds(self, test: ExtraTest, cat: SeededCat) -> bool:
        return (f"{cat.name}_softmax" if test.ood else cat.name) in read_predictions(self._path(test))

    def _keep(self, test: ExtraTest, arrays: dict[str, np.ndarray]) -> None:
        """Write arrays beside those of other cats, unless these are of other images."""
        before, first = read_predictions(self._path(test)), next(iter(arrays))
        same = np.array_equal(before.get(first, np.empty(0)), arrays[first])
        write_predictions(self._path(test), {**(before if same else {}), **arrays})
