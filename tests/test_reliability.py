"""docs/reliability.md promises nothing that no test holds."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROWS = [line for line in (ROOT / "docs/reliability.md").read_text().splitlines() if line.startswith("|")]


def test_each_row_has_its_test():
    rows = [row for row in ROWS if not re.fullmatch(r"[|: -]+", row) and not row.startswith("| what happens")]
    assert len(rows) > 10
    for row in rows:
        assert len(re.split(r"(?<!\\)\|", row)) == 6, row  # four columns
        named = re.findall(r"(tests/[\w/]+\.py)::(\w+)", row.split("|")[-2])
        assert named, row
        for path, name in named:
            tree = ast.parse((ROOT / path).read_text())
            assert name in {each.name for each in ast.walk(tree) if isinstance(each, ast.FunctionDef)}, (
                f"{path}::{name}"
            )
