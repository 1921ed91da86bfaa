"""`timecat tune`: train a study's cat further, in every repetition or in one, and measure what it is worth."""

import os
from typing import TYPE_CHECKING

from timecat.cluster.slots import FAILED
from timecat.cluster.stop import REQUEUED, STOPPED, Stop, Stopped, requeue
from timecat.data.beton import count_images
from timecat.errors import Diverged, UserError
from timecat.study import progress
from timecat.study.directory import write_record
from timecat.study.tuned import Tuned, read_tuned
from timecat.terminal import print_table, say
from timecat.tune.tuning import Tuning

if TYPE_CHECKING:
    from timecat.tune.train import Runs


def tune(tuning: Tuning, stop: Stop, repetition: int | None = None) -> int:
    """Train what is not finished of all repetitions, one after the other, or of the one that is named.

    Returns:
        The exit status, as that of `timecat fit`.

    Raises:
        UserError: the study is not trained yet, files are missing, or what is there was trained otherwise.
    """
    repetitions = tuning.repetitions(repetition)
    weights = {each: check(tuning, each) for each in repetitions}
    left = [each for each in repetitions if not is_finished(tuning, each, weights[each])]
    if not left:
        say(f"{tuning.directory(repetitions[0]).path.parent}: nothing to train, all is finished")
    else:
        say(tuning.in_words(left))
        status = _train(tuning, left, weights, stop)
        if status:
            return status
    show(tuning, repetitions)
    return 0


def check(tuning: Tuning, repetition: int) -> list[str]:
    """Look at all that the trainings need; the SHA-256 of the cat's snapshots.

    Raises:
        UserError: a member is not trained yet, or a file of images is missing.
    """
    found, study = [], tuning.study
    for snapshot in tuning.seeded(repetition).snapshots:
        for each in snapshot.trained:
            study.directory.member(each.plan.name).verify(each.step)
        digest = study.digest(snapshot)
        if digest is None:
            raise UserError(f"{study.snapshot_path(snapshot)}: no such file; mend study.cats.{tuning.cat.name}.weights")
        found.append(digest)
    paths = [path for data in (tuning.data, *(each.data for each in tuning.probes)) for path in data.training_files]
    for path in dict.fromkeys([*paths, *(each.data.files["test"] for each in tuning.probes)]):
        count_images(path)
    return found


def is_finished(tuning: Tuning, repetition: int, weights: list[str]) -> bool:
    """Whether its result is there, of these settings and members."""
    there = read_tuned(tuning.directory(repetition))
    return there is not None and there["settings"] == tuning.settings(repetition) and there["weights"] == weights


def _train(tuning: Tuning, repetitions: list[int], weights: dict[int, list[str]], stop: Stop) -> int:
    from timecat.tune.train import share_of_the_cores

    share_of_the_cores()
    from timecat.tune.train import Runs

    runs = Runs(tuning, stop)
    for each in repetitions:
        directory = tuning.directory(each)
        held = progress.lock(directory.lock, patient="SLURM_JOB_ID" in os.environ)
        if held is None:
            say(f"timecat: {directory} is being trained by another process", error=True)
            return FAILED
        try:
            if not is_finished(tuning, each, weights[each]):
                write_record(directory.results, _by_method(tuning, each, weights[each], runs))
        except Diverged as error:
            say(f"timecat: {directory}: {error}; lower tune.lrs or model.lr, under another tune.name", error=True)
            return FAILED
        except Stopped as stopped:
            say(f"timecat: {directory} {stopped}; the same command goes on from there", error=True)
            if stop.requeues():
                requeue()
                return REQUEUED
            return STOPPED
        finally:
            os.close(held)
    return 0


def _by_method(tuning: Tuning, repetition: int, weights: list[str], runs: "Runs") -> Tuned:
    paths = [tuning.study.snapshot_path(snapshot) for snapshot in tuning.seeded(repetition).snapshots]
    if tuning.tune.method == "finetune":
        from timecat.tune.finetune import finetune

        return finetune(tuning, repetition, paths, weights, runs)
    if tuning.tune.method == "two_stage":
        from timecat.tune.two_stage import two_stage

        return two_stage(tuning, repetition, paths, weights, runs)
    from timecat.tune.distill import distill

    return distill(tuning, repetition, paths, weights, runs)


def show(tuning: Tuning, repetitions: list[int]) -> None:
    """Print a row for each repetition and data set."""
    rows = []
    for each in repetitions:
        tuned = read_tuned(tuning.directory(each))
        for name, result in (tuned["data"] if tuned else {}).items():
            assert tuned is not None
            cells = [str(each), name, f"{result['acc1']:.1f}", f"{result['chosen_by_acc1']:.1f}"]
            chosen = [f"{result['lr'] or 0:g}", f"{result['weight_decay']:g}"]
            rows.append([*cells, *chosen, f"{tuned['images']:,}", f"{tuned['images_in_all']:,}"])
    header = ["repetition", "data", "top-1", "held out", "lr", "weight decay", "images", "with the grid"]
    print_table(f"{tuning.name}: {tuning.tune.method} of {tuning.cat.name}, top-1 %", header, rows, left=["data"])
    say(f"{tuning.directory(repetitions[0]).path.parent}; timecat report shows it beside the study's cats")
