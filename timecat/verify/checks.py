"""What there is to verify of a study: each file that a hash or a checksum is known of, and how it is looked at."""

import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from timecat import files
from timecat.data import checksums
from timecat.data.beton import read_beton
from timecat.errors import UserError
from timecat.extraction.file import check_shards
from timecat.study.arrays import check_predictions, is_as_often_right, read_npz
from timecat.study.directory import MemberDirectory, ProbeDirectory, Protocol, StudyDirectory, read_record
from timecat.study.recipe import CONTENT, check_recipe
from timecat.study.study import Study

PROTOCOLS: tuple[Protocol, ...] = ("heldout", "paper")


@dataclass(frozen=True)
class Check:
    """One file.

    Args:
        kind: of file, in a word that stands in the table.
        whole: reads it wholly; raises UserError, in one line with the mend, where it is not what was written.
    """

    kind: str
    path: Path
    whole: Callable[[], object]

    @property
    def bytes(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def look(self, advance: Callable[[int], None]) -> None:
        """Read it.

        Args:
            advance: told how many more bytes are read.

        Raises:
            UserError: it is not what was written.
        """
        size = self.bytes
        try:
            self.whole()
        finally:
            advance(size)


@dataclass(frozen=True)
class ImagesCheck(Check):
    """A data file, which may take minutes; the hashes of one that has none are made."""

    def look(self, advance: Callable[[int], None]) -> None:
        self.whole()
        if wrong := checksums.verify(self.path, advance).wrong:
            told = f"{'; '.join(wrong[:3])}{'; ...' if len(wrong) > 3 else ''}"
            raise UserError(f"{self.path}: {told}; put it back, or write it again by `timecat write`")


def checks(study: Study) -> list[Check]:
    """All of a study, each file once, in the order in which one is made of the other."""
    directory = study.directory
    found = [
        *_data(study),
        *_recipes(study),
        *_snapshots(directory),
        *_archives(directory),
        *_features(directory),
        *_kept(directory),
        *_records(directory),
    ]
    return list({(check.kind, check.path): check for check in found}.values())


def unchecked(study: Study, checked: list[Check]) -> int:
    """How many other files lie there: pictures, events, logs, locks, weights that nobody has finished."""
    known = {check.path for check in checked}
    return sum(path.is_file() and path not in known for path in study.directory.path.rglob("*"))


def _data(study: Study) -> Iterator[Check]:
    """The images that members were trained on, and probes' own."""
    for plan in study.members:
        directory = study.directory.member(plan.name)
        content = (_known(directory.recipe) or {}).get(CONTENT)
        if content is not None and not plan.data.mixture:
            path = plan.data.training_files[0]
            yield Check("trained on", directory.path, partial(_is_trained_on, path, str(content), directory))
    for data in (*study.all_data, *(probe.data for probe in study.probes)):
        for path in (*data.training_files, *data.files.values()):
            yield ImagesCheck("data", path, partial(read_beton, path))


def _is_trained_on(path: Path, content: str, directory: MemberDirectory) -> None:
    if not checksums.same_content(content, checksums.content(read_beton(path))):
        raise UserError(f"{path}: is not the file that {directory} was trained on; put that one back")


def _recipes(study: Study) -> Iterator[Check]:
    for plan in study.members:
        directory = study.directory.member(plan.name)
        if directory.is_begun():
            yield Check("recipe", directory.recipe, partial(check_recipe, study, plan))


def _snapshots(directory: StudyDirectory) -> Iterator[Check]:
    """Of all members, and what was kept of tuned networks; those of a run that nobody has finished have no hash yet."""
    for path in sorted(directory.path.rglob(MemberDirectory(Path()).done.name)):
        member = MemberDirectory(path.parent)
        is_tuned = not path.parent.parent.samefile(directory.path)
        for step in (_known(path) or {}).get("snapshots", {}):
            if is_tuned and not member.snapshot(int(step)).exists():  # of a setting that was not chosen
                continue
            yield Check("snapshot", member.snapshot(int(step)), partial(member.verify, int(step)))


def _archives(directory: StudyDirectory) -> Iterator[Check]:
    """Checkpoints, predictions, means of weights: zip files, which have checksums of their own."""
    mends = {
        "*.ckpt": ("checkpoint", "put it back, or remove it: a training goes on from the other one beside it"),
        "soups/*.pt": ("soup", "remove it, and `timecat probe` makes it again"),
        "*.npz": ("predictions", "put it back, or remove it, and the command that wrote it makes it again"),
    }
    for pattern, (kind, mend) in mends.items():
        for path in sorted(directory.path.rglob(pattern)):
            yield Check(kind, path, partial(_is_whole_archive, path, mend))


def _is_whole_archive(path: Path, mend: str) -> None:
    try:
        with files.open_regular(path) as file, zipfile.ZipFile(file) as archive:
            broken = archive.testzip()
    except (OSError, ValueError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path}: is damaged ({error}); {mend}") from None
    if broken is not None:
        raise UserError(f"{path}: is damaged (the checksum of {broken} is wrong); {mend}")


def _features(directory: StudyDirectory) -> Iterator[Check]:
    for path in sorted(directory.features.rglob("*.npy")):
        if not path.name.startswith("."):
            yield Check("features", path, partial(check_shards, path))


def _kept(directory: StudyDirectory) -> Iterator[Check]:
    """Heads and logits that results tell of."""
    for protocol in PROTOCOLS:
        for path in sorted(directory.path.glob(f"probe/**/{ProbeDirectory(Path()).results(protocol).name}")):
            place = ProbeDirectory(path.parent)
            cats = (_known(path) or {}).get("cats", {})
            results = [(f"{cat}_{k}", each) for cat, of in cats.items() for k, each in of["repetitions"].items()]
            for name, result in results:
                if "head_sha256" in result:
                    head = place.head(name, protocol)
                    yield Check("head", head, partial(_is_of_results, head, result["head_sha256"]))
                if "logits_sha256" in result:
                    logits = place.logits(name, protocol)
                    yield Check("logits", logits, partial(_is_of_results, logits, result["logits_sha256"]))
            if results:
                predictions = place.predictions(protocol)
                yield Check("results", predictions, partial(_tell_the_same, predictions, dict(results)))


def _is_of_results(path: Path, digest: str) -> None:
    if not path.is_file():
        raise UserError(f"{path}: is gone; put it back, or `timecat probe` makes it again")
    if files.sha256(path) != digest:
        what = "is not the file that the results beside it tell of"
        raise UserError(f"{path}: {what}; put it back, or remove it, and `timecat probe` makes it again")


def _tell_the_same(path: Path, results: dict[str, dict]) -> None:
    """Predictions that are as often right as the results say."""
    mend = "put it back from a copy, or run `timecat probe`, which makes it again"
    arrays = read_npz(path, mend)
    if arrays is None:
        raise UserError(f"{path}: is gone; {mend}")
    check_predictions(path, arrays, list(results), mend)
    for name, result in results.items():
        if not is_as_often_right(arrays, name, result["acc1"]):
            raise UserError(f"{path}: is not of the results beside it; {mend}")


def _known(path: Path) -> dict[str, Any] | None:
    """A record, or None of one that is damaged, which its own check tells."""
    try:
        return read_record(path)
    except UserError:
        return None


def _records(directory: StudyDirectory) -> Iterator[Check]:
    """Our JSON files."""
    for path in sorted(directory.path.rglob("*.json")):
        if not path.is_relative_to(directory.loggers):
            yield Check("record", path, partial(read_record, path))
