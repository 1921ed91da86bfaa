"""The site is whole, made from the code, and loads nothing from any other host."""

import ast
import html
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import timecat
import timecat.config.keys
from timecat.cli import COMMANDS

ROOT = Path(__file__).parents[1]
LOADS = {"src", "srcset", "data", "poster"}  # attributes whose address is fetched when a page is opened


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """What `make docs` builds."""
    pytest.importorskip("mkdocs")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    built = subprocess.run(command, cwd=ROOT, env={**os.environ, "COLUMNS": "60"}, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return folder


def text_of(page: Path) -> str:
    """What a reader sees of it."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", page.read_text())).split())


def test_every_key_and_command_is_there(site):
    configuration = text_of(site / "reference/configuration.html")
    for key in (key for section in timecat.config.keys.sections() for key in section.keys):
        assert key.name in configuration
        assert " ".join(key.text.replace("`", "").split()) in configuration
        assert key.default in configuration
    commands = text_of(site / "reference/commands.html")
    assert [name for name in COMMANDS if not re.search(rf"timecat {name} ?¶", commands)] == []
    assert all(f"usage: timecat {name} " in commands or f"Lightning's {name} on" in commands for name in COMMANDS)


def test_api_has_the_docstrings(site):
    page = site / "reference/api.html"
    source = (ROOT / "timecat/inference/load.py").read_text()
    load = next(node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name == "load")
    for paragraph in (ast.get_docstring(load) or "").split("Args:")[0].split("\n\n"):
        assert " ".join(paragraph.split()) in text_of(page)
    ids = re.findall(r'<h3 id="([\w.]+)"', page.read_text())
    assert {*ids} >= {f"timecat.{name}" for name in timecat.__all__ if name != "__version__"}
    assert "timecat.networks.backbone.Weights" in ids
    assert "timecat.members.member.Member" in ids and "timecat.data.datamodule.ImageData" in ids


class Fetched(HTMLParser):
    """Addresses that a browser fetches to show a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = LOADS | ({"href"} if tag in ("link", "use", "image") else set())
        if tag == "link" and dict(attrs).get("rel") in ("canonical", "next", "prev"):
            return
        self.addresses += [value for name, value in attrs if name in names and value]


def test_nothing_is_loaded_from_another_host(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 40
    for page in pages:
        fetched = Fetched()
        fetched.feed(page.read_text())
        assert fetched.addresses
        for address in fetched.addresses:
            assert not re.match(r"(\w+:)?//", address), f"{page}: {address}"
            assert (page.parent / address.partition("#")[0].partition("?")[0]).exists() or page.name == "404.html"
    for style in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*[\"']?(\w+:)?//", style.read_text()), style
