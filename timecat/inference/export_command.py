"""`timecat export`: a cat of a finished study as a directory that stands for itself."""

import argparse
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from timecat import files
from timecat.cluster.stop import until_stopped
from timecat.errors import UserError
from timecat.inference.arguments import parser_of
from timecat.inference.card import CARD, CONFIG, UPLOAD, Exported, config_of, model_card
from timecat.inference.export import FORMATS, check_formats, export, names_of
from timecat.inference.load import load, split_name
from timecat.terminal import say

_DESCRIPTION = """\
Write a cat of a finished study as a directory that stands for itself.

CAT is STUDY:CAT or STUDY:CAT:REPETITION, such as runs/demo:cat5.
OUT gets config.json (preprocessing, classes), README.md (the model card: data,
budget, seeds, scores with intervals) and, by --format, some of
  safetensors  a file of each member, and of the head: timecat.load(OUT) takes
               them, and so does any code that loads state dicts
  torch        cat.pt2, by torch.export.load, without timecat
  onnx         cat.onnx, for any ONNX runtime; needs onnx and onnxscript
"""


def main(argv: Sequence[str]) -> int:
    """The command `timecat export`; its exit status. Raises UserError on bad input."""
    example = "runs/demo:cat5 exported/ --data digits --format onnx"
    parser = parser_of("export", _DESCRIPTION, example)
    add = parser.add_argument
    add("cat", metavar="CAT", help="what is exported, see above")
    add("out", metavar="OUT", type=Path, help="the directory that the files go to")
    add("--data", metavar="NAME", help="with this probe's head and preprocessing; without it, features alone")
    add("--format", metavar="A,B", default="safetensors", help=f"of {', '.join(FORMATS)} (default: safetensors)")
    add("--license", metavar="ID", help="for the model card, such as cc-by-4.0: also that of the images")
    options = parser.parse_args(argv)
    return until_stopped(lambda stop: _export(options))


def _export(options: argparse.Namespace) -> None:
    out, formats = options.out, list(dict.fromkeys(options.format.split(",")))
    check_formats(formats)
    if options.license is not None and not re.fullmatch(r"[A-Za-z0-9.+-]+", options.license):
        raise UserError(f"--license {options.license!r}: give an identifier of letters, digits, . + -, as cc-by-4.0")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: is there already; choose another OUT, or remove it")
    study, name, repetition = split_name(options.cat)
    source = Exported(Path(study), name, repetition, options.data)
    cat = load(study, name, data=options.data, repetition=repetition)
    head = cat.head is not None
    names = [each for format_ in formats for each in names_of(format_, len(cat.members), head)]
    config = config_of(cat, source, names_of("safetensors", len(cat.members), False))
    card = model_card(config, source, options.license, names)
    whole = out.resolve()  # such as of a dot
    whole.parent.mkdir(parents=True, exist_ok=True)
    temporary = files.temporary_name(whole)
    try:
        temporary.mkdir()
        for format_ in formats:
            export(cat, temporary, format_)
        hashes = {each: files.sha256(temporary / each) for each in names}
        files.write_json(temporary / CONFIG, {**config, "sha256": hashes})
        files.write_bytes(temporary / CARD, card.encode())
        if whole.is_dir():  # empty, and perhaps the working directory, which must stay
            for each in temporary.iterdir():
                os.replace(each, whole / each.name)
        else:
            os.replace(temporary, whole)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for format_ in formats:
        say(f"{out}: {', '.join(names_of(format_, len(cat.members), head))}")
    say(f"{out}: {CONFIG}, {CARD}; to share it: {UPLOAD.format(out=out)}")
