"""Completion in bash: of commands, their own options and every key of a config; elsewhere of file names, as usual.

`eval "$(timecat --print-completion bash)"` in ~/.bashrc defines it.
"""

import argparse

from timecat.errors import UserError
from timecat.options import DESCRIPTIONS, parser_of, sections_of

BASH = """\
_timecat() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} words= keys="{keys}"
    if [ "$COMP_CWORD" = 1 ]; then
        words="{commands}"
    elif [ "$COMP_CWORD" = 2 ] && [ "${{COMP_WORDS[1]}}" = bottleneck ]; then
        words="{parts}"
    elif [[ $word == -* ]]; then
        case "${{COMP_WORDS[1]}}" in
{options}
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _timecat timecat
"""


def print_completion(arguments: list[str], commands: tuple[str, ...], parts: tuple[str, ...]) -> int:
    """Print the function that a shell completes by; returns 0.

    Args:
        arguments: the shell's name.
        commands, parts: of timecat, and of timecat bottleneck.

    Raises:
        UserError: another shell than bash.
    """
    if arguments != ["bash"]:
        raise UserError('--print-completion knows bash alone: eval "$(timecat --print-completion bash)"')
    cases = []
    for command in (each for each in DESCRIPTIONS if " " not in each):
        own = dict.fromkeys(["--config", *_options(parser_of(command))])
        keys = {"doctor": "", "tune": " ".join(_keys("tune"))}.get(command, "$keys")
        cases.append(f'            {command}) words="{" ".join(own)} {keys}" ;;')
    cases.append('            *) words="--config" ;;')
    text = BASH.format(
        commands=" ".join(commands), parts=" ".join(parts), keys=" ".join(_keys("run")), options="\n".join(cases)
    )
    print(text, end="")
    return 0


def _keys(command: str) -> list[str]:
    """The config's, as options."""
    keys = [key.name for section in sections_of(command) for key in section.keys]
    return ["--seed_everything", *(f"--{key}" for key in keys if ".NAME." not in key)]


def _options(parser: argparse.ArgumentParser) -> list[str]:
    """The long ones that its help shows."""
    shown = [action for action in parser._actions if action.help != argparse.SUPPRESS]
    return [name for action in shown for name in action.option_strings if name.startswith("--")]
