"""The owner of what lies below <root>/<study>: every name, the JSON files' version, and when a member is finished.

member_<seed>…/  snapshot_<step>.pt, last.ckpt, previous.ckpt, recipe.json, preprocessing.json, progress.json,
                 done.json, logger_runs.json, lock
features/<data>/<part>/<member>_<step>.npy and .json; <part>_paper where the paper's protocol normalises otherwise
soups/           means of members' weights
probe/<data>/    results.json, predictions.npz, preprocessing.json, knn.json, few_shot.json, lock,
                 logits/<cat>_<repetition>.npy, heads/<cat>_<repetition>.npz,
                 tests/<test>/ with predictions.npz and logits/ of each of data.tests,
                 earlier/<hash>/ with the same of results that others have taken the place of
tuned/<name>/<repetition>/  results.json, predictions_<data>.npz, lock, and a member's files for each run
launch/          the scripts that were submitted, jobs, lock
loggers/         what loggers of trainer.logger leave
logs/            fit_<member>.log, probe_<place in study.probes>.log, report.log
compare/         what TensorBoard compares: made_of.json, lock, events of <cat>/ and study/
layout/          TensorBoard's, of the members
study.json, report.json, report.md, report.png, report.svg, report_costs.png, report_costs.svg
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict, cast

from timecat import files
from timecat.errors import UserError
from timecat.study.record import VERSION as VERSION
from timecat.study.record import damaged, read_record
from timecat.study.record import write_record as write_record

Protocol = Literal["heldout", "paper"]


class Done(TypedDict):
    """done.json: a member's training is finished.

    Keys:
        step: its last one.
        images: that it was trained on.
        metrics: of the last validation, such as val/acc1.
        snapshots: SHA-256 of each snapshot's file as it was written, by step.
        bytes: how long each is; earlier files do not tell.
    """

    step: int
    snapshots: dict[str, str]
    bytes: NotRequired[dict[str, int]]
    images: NotRequired[int]
    seed: NotRequired[int]
    metrics: NotRequired[dict[str, float]]


class Progress(TypedDict):
    """progress.json: how far a member's training is; `time` in seconds since 1970; in words how it diverged, if so."""

    step: int
    steps: int
    loss: float | None
    images_per_sec: float | None
    time: float
    diverged: NotRequired[str]


class LoggerRuns(TypedDict):
    """logger_runs.json: which run of the user's loggers a member is, so that it goes on as the same one.

    Keys:
        id: for those that take one.
        run_ids: of those that give it themselves, by the name of their class.
    """

    id: str
    run_ids: dict[str, str]


@dataclass(frozen=True)
class MemberDirectory:
    """What one training run leaves."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def checkpoint(self) -> Path:
        return self.path / "last.ckpt"

    @property
    def previous_checkpoint(self) -> Path:
        return self.path / "previous.ckpt"

    @property
    def unpublished_checkpoint(self) -> Path:
        return self.path / ".last.ckpt.tmp"

    @property
    def recipe(self) -> Path:
        return self.path / "recipe.json"

    @property
    def preprocessing(self) -> Path:
        """How images are seen in evaluation."""
        return self.path / "preprocessing.json"

    @property
    def done(self) -> Path:
        return self.path / "done.json"

    @property
    def progress(self) -> Path:
        return self.path / "progress.json"

    @property
    def logger_runs(self) -> Path:
        return self.path / "logger_runs.json"

    def leftovers(self) -> list[Path]:
        """What a killed process was about to write; of no use to the next one."""
        return sorted({*self.path.glob(files.TEMPORARY_NAMES), *self.path.glob(self.unpublished_checkpoint.name)})

    def snapshot(self, step: int) -> Path:
        return self.path / f"snapshot_{step}.pt"

    def is_begun(self) -> bool:
        """Whether something was trained here."""
        return any(self.path.glob("*.ckpt")) or any(self.path.glob("snapshot_*.pt"))

    def read_done(self) -> Done | None:
        done = cast(Done | None, read_record(self.done, Done, self.mend))
        for step in done["snapshots"] if done else ():
            if not step.isdecimal() or len(step) > 18:
                raise damaged(self.done, f"snapshots.{step} is no step", self.mend)
        return done

    def read_recipe(self) -> dict[str, Any] | None:
        """What was trained here; None where nothing was.

        Raises:
            UserError: something was trained, and nothing tells how.
        """
        record = read_record(self.recipe, mend=self.mend)
        if record is None and self.is_begun():
            raise UserError(
                f"{self.recipe}: is gone or empty, so that nothing tells how this member was trained; {self.mend}"
            )
        return record

    def read_progress(self) -> Progress | None:
        return cast(Progress | None, read_record(self.progress, Progress, again=True))

    def read_logger_runs(self) -> LoggerRuns | None:
        return cast(
            LoggerRuns | None, read_record(self.logger_runs, LoggerRuns, "remove it, and loggers begin a new run")
        )

    def hashes(self) -> dict[int, str]:
        """SHA-256 of the finished snapshots' files, by step, as they were written."""
        done = self.read_done()
        return {int(step): digest for step, digest in done["snapshots"].items()} if done else {}

    def is_finished(self, steps: Iterable[int]) -> bool:
        """Whether the marker covers the snapshots at these steps; `look` and `verify` tell whether they are whole."""
        hashes = self.hashes()
        return all(step in hashes for step in steps)

    def look(self, steps: Iterable[int]) -> None:
        """Look for finished snapshots, and at how long they are.

        Raises:
            UserError: one is not there, or of another length than was written.
        """
        done = self.read_done()
        if done is None:
            return
        for step in (str(step) for step in steps if str(step) in done["snapshots"]):
            path = self.snapshot(int(step))
            if not path.is_file():
                raise UserError(f"{path}: is gone, though {self.done.name} beside it tells of it; {self.mend}")
            if path.stat().st_size != done.get("bytes", {}).get(step, path.stat().st_size):
                raise UserError(f"{path}: {self._damaged}")

    def verify(self, step: int) -> None:
        """Look at every byte of a snapshot.

        Raises:
            UserError: it is not there, was not finished, or is another file than was written.
        """
        path, digest = self.snapshot(step), self.hashes().get(step)
        if digest is None:
            raise UserError(f"{path}: not trained yet; run `timecat fit` first")
        self.look([step])
        if files.sha256(path) != digest:
            raise UserError(f"{path}: {self._damaged}")

    @property
    def _damaged(self) -> str:
        return f"is damaged, or another file than {self.done.name} beside it tells of; {self.mend}"

    @property
    def mend(self) -> str:
        """What to do about files that are gone or damaged."""
        return f"put it back from a backup, or move {self.path} away and `timecat fit` trains this member again"


@dataclass(frozen=True)
class ProbeDirectory:
    """What a data set's probe leaves; results by the paper's protocol have names of their own."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    def results(self, protocol: Protocol) -> Path:
        return self.path / f"results{_suffix(protocol)}.json"

    def predictions(self, protocol: Protocol) -> Path:
        """Of the test images' labels and what each cat and repetition predicts."""
        return self.path / f"predictions{_suffix(protocol)}.npz"

    def logits(self, block: str, protocol: Protocol) -> Path:
        """Of the test images, by the chosen head of one cat and repetition."""
        return self.path / "logits" / f"{block}{_suffix(protocol)}.npy"

    def head(self, block: str, protocol: Protocol) -> Path:
        """The chosen head of one cat and repetition."""
        return self.path / "heads" / f"{block}{_suffix(protocol)}.npz"

    def preprocessing(self, protocol: Protocol) -> Path:
        """How its images are seen in evaluation."""
        return self.path / f"preprocessing{_suffix(protocol)}.json"

    def test(self, name: str) -> "ProbeDirectory":
        """Of one of data.tests: its predictions and logits have the same names."""
        return ProbeDirectory(self.path / "tests" / name)

    def earlier_results(self, digest: str) -> "ProbeDirectory":
        """Of results that others have taken the place of, with what they are of, under the same names."""
        return ProbeDirectory(self.path / "earlier" / digest)

    def all_earlier_results(self, protocol: Protocol) -> list["ProbeDirectory"]:
        """By this protocol, the newest first."""
        found = (self.path / "earlier").glob(f"*/{self.results(protocol).name}")
        by_age = sorted(found, key=lambda path: path.stat().st_mtime_ns, reverse=True)
        return [ProbeDirectory(path.parent) for path in by_age]

    def earlier(self, path: Path, digest: str) -> Path:
        """Where results or predictions lie that new ones took the place of."""
        return path.with_name(f"{path.stem}_{digest}{path.suffix}")

    def unfinished_pass(self, digest: str, protocol: Protocol = "heldout") -> Path:
        """Of training heads; the digest has 16 characters."""
        return self.path / f".pass{_suffix(protocol)}_{digest}.pt"

    def unfinished_passes(self, protocol: Protocol) -> list[Path]:
        """Every one that lies there."""
        return sorted(self.path.glob(self.unfinished_pass("?" * 16, protocol).name))

    def saturation(self, suffix: str) -> Path:
        """How saturated the members are on it, as .json, .png or .svg; with an empty suffix TensorBoard's directory."""
        return self.path / f"saturation{suffix}"

    @property
    def selection(self) -> Path:
        """Members chosen one by one."""
        return self.path / "selection.json"

    def knn(self, suffix: str) -> Path:
        """What nearest neighbours give, as .json; their predictions of the test images, as .npz."""
        return self.path / f"knn{suffix}"

    def few_shot(self, suffix: str) -> Path:
        """Heads on few images a class, as .json, .png or .svg; with an empty suffix TensorBoard's directory."""
        return self.path / f"few_shot{suffix}"

    def events(self, block: str, protocol: Protocol) -> Path:
        """TensorBoard's, of one extractor."""
        return self.path / f"{block}{_suffix(protocol)}"


@dataclass(frozen=True)
class TunedDirectory:
    """What one repetition of `timecat tune` leaves."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def results(self) -> Path:
        return self.path / "results.json"

    def predictions(self, data: str) -> Path:
        """Of a data set's test images."""
        return self.path / f"predictions_{data}.npz"

    def run(self, name: str) -> MemberDirectory:
        """One training."""
        return MemberDirectory(self.path / name)

    def probe(self, data: str) -> ProbeDirectory:
        """Where heads on frozen features keep what they have not finished."""
        return ProbeDirectory(self.path / "probe" / data)


@dataclass(frozen=True)
class ComparisonDirectory:
    """What TensorBoard shows of a study: a run for each cat, and one for the study."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def made_of(self) -> Path:
        """What the runs were made of."""
        return self.path / "made_of.json"

    def cat(self, name: str) -> Path:
        return self.path / name

    @property
    def study(self) -> Path:
        return self.path / "study"


@dataclass(frozen=True)
class StudyDirectory:
    """A study's directory."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def plan(self) -> Path:
        return self.path / "study.json"

    def member(self, name: str) -> MemberDirectory:
        return MemberDirectory(self.path / name)

    def probe(self, data: str) -> ProbeDirectory:
        return ProbeDirectory(self.path / "probe" / data)

    def probed(self) -> list[str]:
        """The data sets that have results by the held-out protocol."""
        return [path.parent.name for path in sorted(self.path.glob("probe/*/results.json"))]

    def tuned(self, name: str, repetition: int | str) -> TunedDirectory:
        return TunedDirectory(self.path / "tuned" / name / str(repetition))

    def tuned_features(self, name: str, repetition: int, run: str) -> str:
        """What the features' files of a tuned network are called."""
        return f"tuned_{name}_{repetition}_{run}"

    def all_tuned(self) -> dict[str, dict[int, TunedDirectory]]:
        """By name and repetition, what `timecat tune` has left."""
        found: dict[str, dict[int, TunedDirectory]] = {}
        for path in sorted((self.path / "tuned").glob("*/*/results.json")):
            if path.parent.name.isdecimal():
                of_name = found.setdefault(path.parent.parent.name, {})
                of_name[int(path.parent.name)] = TunedDirectory(path.parent)
        return {name: dict(sorted(of_name.items())) for name, of_name in found.items()}

    @property
    def features(self) -> Path:
        return self.path / "features"

    def soup(self, name: str, digest: str) -> Path:
        """A mean of weights, by what they are."""
        return self.path / "soups" / f"{name}_{digest[:16]}.pt"

    def feature_file(self, data: str, part: str, snapshot: str, protocol: Protocol = "heldout") -> Path:
        return self.features / data / f"{part}{_suffix(protocol)}" / f"{snapshot}.npy"

    @property
    def loggers(self) -> Path:
        return self.path / "loggers"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    def member_log(self, index: int | str) -> Path:
        """Where a member's process writes what it has to say; SLURM's tasks do so too."""
        return self.logs / f"fit_{index}.log"

    def probe_log(self, place: int | str) -> Path:
        return self.logs / f"probe_{place}.log"

    @property
    def report_log(self) -> Path:
        return self.logs / "report.log"

    @property
    def launch(self) -> Path:
        return self.path / "launch"

    @property
    def jobs(self) -> Path:
        """A line per submitted task: stage, number, job."""
        return self.launch / "jobs"

    @property
    def launch_lock(self) -> Path:
        return self.launch / "lock"

    @property
    def layout(self) -> Path:
        """TensorBoard's: which charts the members' curves are on."""
        return self.path / "layout"

    def compare(self, protocol: Protocol) -> "ComparisonDirectory":
        return ComparisonDirectory(self.path / f"compare{_suffix(protocol)}")

    def breakdown(self, protocol: Protocol, by: str, suffix: str) -> Path:
        """The report by class, component or group, as .json, .md, .png or .svg."""
        return self.report(protocol, f"_by_{by}{suffix}")

    def report(self, protocol: Protocol, suffix: str) -> Path:
        """The report as .json, .md, .png or .svg; of features from elsewhere with an empty suffix TensorBoard's."""
        return self.path / f"report{_suffix(protocol)}{suffix}"

    def cost_picture(self, protocol: Protocol, suffix: str) -> Path:
        """The report's picture of accuracies against costs, as .png or .svg."""
        return self.report(protocol, f"_costs{suffix}")


def _suffix(protocol: Protocol) -> str:
    return "" if protocol == "heldout" else f"_{protocol}"
