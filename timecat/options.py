"""What each command of a study takes: its own options, and the keys of the config; and its help."""

import argparse
import re
import textwrap
from typing import Any

from timecat.config.keys import KeysOfSection, sections
from timecat.config.paths import on_command_line
from timecat.config.section import suggestion
from timecat.config.trainer import PASSED_ON
from timecat.config.types import MAX_MEMBERS
from timecat.errors import UserError, shown
from timecat.parser import Parser

MOST = 2**20


def names(value: str) -> list[str]:
    """Comma-separated names."""
    return [name.strip() for name in value.split(",") if name.strip()]


def positive(value: str, most: int = MOST) -> int:
    """A whole number of 1 or more."""
    if not re.fullmatch("[0-9]{1,12}", value) or not 1 <= int(value) <= most:
        words = "of 1 or more" if most == MOST else f"from 1 to {most:,}"
        raise argparse.ArgumentTypeError(f"{shown(value)} is not a whole number {words}")
    return int(value)


def few(value: str) -> int:
    """As many members, or devices, as one machine could train at once."""
    return positive(value, MAX_MEMBERS)


def number(value: str) -> int:
    """A member's, or a repetition's."""
    if not re.fullmatch("-?[0-9]{1,12}", value):
        raise argparse.ArgumentTypeError(f"{shown(value)} is not a whole number")
    return int(value)


def positives(value: str) -> list[int]:
    """Comma-separated whole numbers of 1 or more."""
    return [positive(number) for number in names(value)] or [positive(value)]


def temperatures(value: str) -> list[float]:
    """Comma-separated numbers above 0, or `none`, which is infinity."""
    return [float("inf") if number == "none" else rate(number) for number in names(value)] or [rate(value)]


def shots(value: str) -> list[str]:
    """Comma-separated whole numbers of 1 or more, or `all`."""
    return [number if number == "all" else str(positive(number)) for number in names(value)] or [str(positive(value))]


def rate(value: str) -> float:
    """A number above 0."""
    try:
        number = float(value)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{shown(value)} is not a number above 0")
    return number


DESCRIPTIONS = {
    "run": "The whole study on this machine: write missing data, train members, probe, report. Each stage skips what "
    "is finished, so that the same command goes on where it was stopped.",
    "plan": "What a study trains and costs, before anything is trained: members, snapshots, steps, images, epochs, "
    "and the passes of its probes.",
    "status": "What of a study is finished, running, stopped or missing, from disk and, where it is, SLURM.",
    "verify": "Every file of a study against its hashes, each read wholly: images, recipes, snapshots, checkpoints, "
    "features, results, predictions. A line names each that is damaged, and what to do; the exit status is 1 then.",
    "launch": "The whole study as SLURM jobs: an array with a task per member, probes that wait for their members, the "
    "report. Only what is missing is submitted. Options that are not listed go to sbatch as they are, such as "
    "--partition gpu --time 12:00:00.",
    "fit": "On a study's config: train its members, all that are unfinished, or one. In a SLURM array, the task's own. "
    "On a probe's config, or one without a study, it is Lightning's fit on one network: timecat fit --config "
    "configs/probe/digits.yaml --help lists its keys.",
    "probe": "Features of every snapshot once, then linear heads on every cat, all of a data set together. In a SLURM "
    "array, the task's own data set.",
    "bottleneck saturation": "How much of a cat's features its members repeat, and what each adds, on images held out "
    "of each probe's training set: effective rank, CKA and ridge between members, against the baseline and a random "
    "layer; collapse within classes. The report shows what it found.",
    "bottleneck select": "Choose members one by one on held-out images from all snapshots of the study, by a ridge "
    "head, and count what the choice costs. Half of the held-out images choose, the other half tell.",
    "knn": "Each test image by its nearest training images on each cat's stored features: cosine similarity s, votes "
    "exp(s / temperature) (Wu et al. 2018, DINO). Of several k and temperatures one is chosen for each cat on held-out "
    "images; the test set is read once. The report shows what it found.",
    "few-shot": "Linear heads on n images a class, several draws of them, the same for every cat: top-1 and gain over "
    "the baseline against n. Weight decay is chosen on as many held-out images. Heads that are there are not fitted "
    "again; the report shows them.",
    "tune": "Train a cat of a study further, once its members are trained: fine-tune it whole on the images of one of "
    "the study's probes, or each member by itself, or distil it into one network on the pretraining images. "
    "Repetitions one after the other; in a SLURM array, the task's own. The report shows the result beside the cats.",
    "report": "Table, report.md, report.png and TensorBoard from the results on disk.",
    "doctor": "What timecat needs of this machine, and whether it is there: versions, the kernel that decodes, GPUs "
    "and driver, cores, memory, disks, locks, SLURM. A line each, which ends in ok or in what to do, within seconds. "
    "The exit status is 1 where something is broken that timecat cannot work without.",
}
CONFIG = "a study's config; of several, later ones are merged over earlier ones"
EXAMPLES = {
    "run": "timecat run configs/demo.yaml --probe.weight_decays '[1e-4, 1e-3]'",
    "plan": "timecat plan configs/table1.yaml --cats cat5 --images-per-sec 2470",
    "status": "timecat status configs/demo.yaml",
    "verify": "timecat verify configs/demo.yaml",
    "launch": "timecat launch configs/cat5.yaml --partition gpu --devices 4 --dry-run",
    "fit": "timecat fit --config configs/cat5.yaml --member 0 --trainer.devices 4",
    "probe": "timecat probe configs/table1.yaml --data cifar100 --probe.memory_gb 40",
    "bottleneck saturation": "timecat bottleneck saturation configs/demo.yaml --data digits",
    "bottleneck select": "timecat bottleneck select configs/demo.yaml --members 4",
    "knn": "timecat knn configs/demo.yaml --data digits --k 10,20",
    "few-shot": "timecat few-shot configs/demo.yaml --shots 1,10,100 --draws 10",
    "tune": "timecat tune configs/tune/finetune.yaml --repetition 0",
    "report": "timecat report configs/demo.yaml --protocol paper",
    "doctor": "timecat doctor --config configs/cat5.yaml",
}


USAGE = "timecat {} CONFIG [options] [--section.key VALUE ...]"


def parser_of(command: str) -> argparse.ArgumentParser:
    """The command's own options."""
    parser = Parser(
        f"timecat {command}",
        usage="timecat doctor [CONFIG] [--json]" if command == "doctor" else USAGE.format(command),
        description=DESCRIPTIONS[command],
        epilog=f"example: {EXAMPLES[command]}",
    )
    parser.description = _fill(DESCRIPTIONS[command])
    add = parser.add_argument
    if command != "launch":  # where it could be the value of one of sbatch's options
        kind = CONFIG.replace("study's", "tune") if command == "tune" else CONFIG
        kind = "a study's or a probe's config, whose own places are looked at too" if command == "doctor" else kind
        add("configs", nargs="*", type=on_command_line, metavar="CONFIG", help=kind)
    if command == "doctor":
        add("--config", "-c", type=on_command_line, action="append", default=[], metavar="CONFIG", help="the same")
        add("--json", action="store_true", help="an object a line: what, value, state (ok, mend, broken), mend")
        return parser
    if command == "tune":
        add("--repetition", type=number, metavar="K", help="this one alone, from 0 (SLURM_ARRAY_TASK_ID's, else all)")
        return parser
    add("--cats", type=names, metavar="A,B", help="these cats alone, and the members that they need (all)")
    if command == "plan":
        add("--images-per-sec", type=rate, metavar="N", help="a GPU's speed; adds hours")
        add("--nodes", type=positive, default=1, metavar="N", help="machines of each member (1)")
        add("--devices", type=positive, metavar="D", help="GPUs of each member on each of them (trainer.devices)")
    if command == "launch":
        add("--nodes", "-N", type=positive, metavar="N", help="machines of each member (trainer.num_nodes)")
        add("--devices", type=positive, metavar="D", help="GPUs of each member on each of them (trainer.devices)")
        add("--throttle", type=positive, metavar="N", help="members that run at the same time, at most (all)")
        add("--images-per-sec", type=rate, metavar="N", help="a GPU's speed; a time limit for each length of members")
        add("--dry-run", action="store_true", help="print the scripts and what would be submitted, submit nothing")
    if command == "fit":
        add("--member", type=number, metavar="K", help="the plan's member K alone (SLURM_ARRAY_TASK_ID, else all)")
        add("--slots", type=few, metavar="N", help="members at once (study.slots; one per GPU, one on a CPU)")
        add("--devices-per-member", type=few, metavar="D", help="instead of trainer.devices; packed on the GPUs")
        add("--serve", action="store_true", help=argparse.SUPPRESS)
    if command.startswith("bottleneck") or command in ("knn", "few-shot"):
        add("--data", metavar="NAME", help="one data set, by its config's name (all)")
    if command == "bottleneck select":
        add("--members", type=few, metavar="N", help="how many to choose (as many as the largest cat has)")
    if command == "knn":
        add("--k", dest="ks", type=positives, metavar="K,…", help="neighbours that vote (10,20,100,200)")
        add(
            "--temperature",
            dest="temperatures",
            type=temperatures,
            metavar="T,…",
            help="of their votes; none: all votes weigh alike (0.07)",
        )
    if command == "few-shot":
        add("--shots", type=shots, metavar="N,…", help="images a class, or all (1,2,5,10,20,50,100,all)")
        add("--draws", type=few, metavar="D", help="of the images, at each number (5)")
    if command == "probe":
        add("--data", metavar="NAME", help="one data set, by its config's name (SLURM_ARRAY_TASK_ID's, else all)")
    if command == "status":
        add("--watch", action="store_true", help="again and again, until all is finished")
    if command == "report":
        add(
            "--by",
            choices=("class", "component", "group"),
            help="break the test images down: top-1 by class, by the mixture's component or by group, and the worst",
        )
    if command in ("probe", "report"):
        add(
            "--protocol",
            choices=("heldout", "paper"),
            default="heldout",
            help="choose heads on held-out data (heldout), or on the test set as the paper does, beside the honest "
            "results",
        )
    return parser


def help_of(command: str, section: str | None = None) -> str:
    """The command's own options and the names of the config's keys; or what each key of a section, or of `all`, means.

    Raises:
        UserError: the command's configs have no such section.
    """
    of_command = sections_of(command)
    if section is None:
        parser = parser_of(command)
        parser.add_argument("--config", metavar="CONFIG", help="the same" if command != "launch" else CONFIG)
        parser.epilog = f"{_names_of(command, of_command)}\n{parser.epilog}"
        return parser.format_help()
    names = [*(each.name for each in of_command), "all"]
    if section not in names:
        raise UserError(f"--help {section}: no section of its config; {suggestion(section, names)}")
    parser = Parser(usage=argparse.SUPPRESS, add_help=False)
    for each in of_command:
        if section in (each.name, "all"):
            group = parser.add_argument_group(each.name, _fill(each.text, 77))
            for key in each.keys:
                shown = f" ({key.default})" if key.default else ""
                group.add_argument(f"--{key.name}", metavar="…", help=f"{key.text}{shown}".replace("%", "%%"))
    return parser.format_help()


def sections_of(command: str) -> list[KeysOfSection]:
    """What a config of the command can hold."""
    first, last = ("tune", ()) if command == "tune" else ("study", ("probe",))
    features = () if command in ("tune", "launch", "fit", "verify") else ("features",)
    taken = [each for each in sections() if each.name in (first, "model", "data", "trainer", *last, *features)]
    return sorted(taken, key=lambda each: each.name != first)


def _names_of(command: str, of_command: list[KeysOfSection]) -> str:
    """The keys by section, names alone."""
    seed = "member k's seed is N + k" if command != "tune" else "of the first repetition; not that of a member"
    lines = ["keys of the config, each of which can be given here too: --model.lr 0.1"]
    for each in of_command:
        head, passed_on = f"--{each.name}.", PASSED_ON if each.name == "trainer" else ()
        names = ", ".join([*(key.name.removeprefix(f"{each.name}.") for key in each.keys), *passed_on])
        lines.append(textwrap.fill(names, 79, initial_indent=f"  {head:12}", subsequent_indent=" " * 14))
    lines.append(f"  --seed_everything N: {seed}")
    lines.append("--help SECTION tells what each of its keys means and its default; all: of all")
    return "\n".join(lines) + "\n"


def _fill(text: str, width: int = 79) -> str:
    return textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)


def parse_options(command: str, arguments: list[str]) -> tuple[dict[str, Any], list[str]]:
    """The command's own options, by name, and what is left: sbatch's, of `launch`.

    Raises:
        UserError: an unknown option, or a value that makes no sense.
    """
    if command == "launch":
        options, left = parser_of(command).parse_known_args(arguments)
        return vars(options), left
    return vars(parser_of(command).parse_args(arguments)), []
