"""What the site has beside docs/: README.md and its kin, the configs, and a reference made from the code.

Pages keep the places of their files in the repository, so that a link that works on a git forge works on the site too.
mkdocs calls the `on_…` functions (https://www.mkdocs.org/user-guide/plugins/#events).
"""

import ast
import contextlib
import io
import os
import posixpath
import re
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import timecat
from timecat.cli import BOTTLENECK, COMMANDS, main
from timecat.config.keys import sections
from timecat.config.section import NUMBERS

ROOT = Path(__file__).parents[2]
BESIDE = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docker/README.md")
CONFIGS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "configs").rglob("*.yaml"))
BY_LIGHTNING = ("validate", "test")  # whose help has hundreds of lines
TYPES = ("timecat.networks.backbone.Weights", "timecat.inference.extract.Features")
_FENCED = re.compile(r"^( *```.*?^ *```)$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """A place in the navigation for every config."""
    pages: list[Any] = ["configs/README.md", *({name.removeprefix("configs/"): f"{name}.md"} for name in CONFIGS)]
    config.nav = [*(config.nav or []), {"Configs": pages}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Files by their places in the repository, and the pages that are made."""
    found = [file.src_uri for file in files if file.src_dir == config.docs_dir and not file.inclusion.is_excluded()]
    for file in [file for file in files if file.src_dir == config.docs_dir]:
        files.remove(file)
    for name in (*BESIDE, *(f"docs/{name}" for name in found)):
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    made = {f"{name}.md": _config_page(name) for name in CONFIGS}
    made["configs/README.md"] = _config_list()
    made["reference/configuration.md"] = _configuration()
    made["reference/commands.md"] = _commands()
    made["reference/api.md"] = _api()
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links to a config or a folder lead to its page; those to code, which has none, are plain code."""
    here = posixpath.dirname(page.file.src_uri)

    def linked(match: re.Match[str]) -> str:
        text, target = match.groups()
        place = posixpath.normpath(posixpath.join(here, target.partition("#")[0]))
        if ":" in target or target.startswith("#") or files.get_file_from_path(place):
            return match[0]
        for there in (f"{place}.md", f"{place}/README.md"):
            if files.get_file_from_path(there):
                return f"[{text}]({posixpath.relpath(there, here)})"
        if place.startswith("configs/") and (ROOT / place).is_dir():
            return f"[{text}]({posixpath.relpath('configs/README.md', here)}#{_anchor(place)})"
        if (ROOT / place).exists():
            return text if "`" in text else f"`{text}`"
        return match[0]  # a broken link, which --strict refuses

    parts = _FENCED.split(markdown)  # every second one is fenced
    return "".join(part if number % 2 else _LINK.sub(linked, part) for number, part in enumerate(parts))


def _anchor(folder: str) -> str:
    return folder.replace("/", "")  # as pymdownx.slugs has it


def _lead(name: str) -> str:
    """What a config's header says first."""
    header = re.match(r"(# .*\n)+", (ROOT / name).read_text())
    words = " ".join(line[2:].strip() for line in header[0].splitlines()) if header else ""
    return re.split(r"(?<=[.:]) (?=[A-Z][a-z]+: |[A-Z])", words)[0].removesuffix(":")


def _config_page(name: str) -> str:
    return f"# {name}\n\n```yaml\n{(ROOT / name).read_text().rstrip()}\n```\n"


def _config_list() -> str:
    lines, folder = (
        ["# Configs", "", "What `--config` takes; each header says what it trains, costs and gives.", ""],
        "",
    )
    for name in sorted(CONFIGS, key=lambda name: (posixpath.dirname(name), name)):
        if posixpath.dirname(name) != folder:
            folder = posixpath.dirname(name)
            lines += ["", f"## {folder}", ""]
        lines.append(f"- [{name}]({posixpath.relpath(name, 'configs')}.md): {_lead(name)}")
    return "\n".join(lines) + "\n"


def _configuration() -> str:
    """Every section and key."""
    lines = [
        "# Configuration\n\nSections and keys of a config. Each key can be given on the command line too, "
        "`--model.lr 0.1`; `timecat COMMAND --help SECTION` prints the same.\n"
    ]
    for section in sections():
        lines.append(f"\n## {section.name}\n\n{_plain(section.text)}\n")
        for key in section.keys:
            said = [f"**`{key.name}`**", _plain(_type(key.kind))]
            said += [f"default `{key.default}`"] if key.default else []
            lines.append(f"{', '.join(said)}\n:   {_plain(key.text)}\n")
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """Text in which, but for code, no character means anything to Markdown."""
    parts = re.split(r"(`[^`]*`)", text)
    plain = [part if part.startswith("`") else re.sub(r"([|_*\[\]])", r"\\\1", part) for part in parts]
    return "".join(part if part.startswith("`") else part.replace("<", "&lt;") for part in plain)


def _type(kind: Any) -> str:
    """A type as a reader of YAML has it."""
    origin, of = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return " | ".join(map(str, of))
    if origin in (typing.Union, types.UnionType):
        return " | ".join(map(_type, of))
    if origin is not None:
        return f"{origin.__name__}[{', '.join(map(_type, of))}]"
    name = getattr(kind, "__name__", str(kind))
    return "null" if kind is type(None) else NUMBERS.get(name, name)


def _commands() -> str:
    """The help of every command, as it is printed."""
    asked = [[command] for command in COMMANDS if command not in BY_LIGHTNING]
    asked += [["bottleneck", part] for part in BOTTLENECK]
    lines = ["# Commands\n", _fenced(_said(["--help"]))]
    for words in asked:
        lines += [f"\n## timecat {' '.join(words)}\n", _fenced(_said([*words, "--help"]))]
    for command in BY_LIGHTNING:
        said = _said([command, "--help"])
        lines += [
            f"\n## timecat {command}\n",
            said.partition("\n\n")[0].replace("\n", "\\\n"),
            '\n??? note "all of it"\n',
        ]
        lines.append("\n".join(f"    {line}" for line in _fenced(said).splitlines()))
    return "\n".join(lines) + "\n"


def _said(arguments: list[str]) -> str:
    """What the command line prints, 80 columns wide."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "80"
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
            main(arguments)
    finally:
        os.environ.pop("COLUMNS")
        if before is not None:
            os.environ["COLUMNS"] = before
    return said.getvalue()


def _fenced(text: str) -> str:
    return f"```\n{text.strip()}\n```"


def _api() -> str:
    """What `timecat` exports, and Lightning's modules; mkdocstrings reads their docstrings without importing them."""
    lines = ["# Python\n", _plain((timecat.__doc__ or "").split("\n")[0]), "\n## timecat\n"]
    lines += [f"::: timecat.{name}\n" for name in sorted(timecat.__all__) if not name.startswith("_")]
    lines.append("## What they take and give\n")
    lines += [f"::: {name}\n    options: {{show_root_full_path: false}}\n" for name in TYPES]
    lines.append("## Lightning modules\n")
    lines += [f"::: {name}\n    options: {{members: false, show_root_full_path: false}}\n" for name in _lightning()]
    return "\n".join(lines)


def _lightning() -> Iterator[str]:
    """The full name of every LightningModule and LightningDataModule."""
    for path in sorted((ROOT / "timecat").rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            bases = [ast.unparse(base) for base in node.bases] if isinstance(node, ast.ClassDef) else []
            if isinstance(node, ast.ClassDef) and {"L.LightningModule", "L.LightningDataModule"} & {*bases}:
                yield ".".join((*path.relative_to(ROOT).with_suffix("").parts, node.name))
