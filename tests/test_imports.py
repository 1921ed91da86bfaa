"""Imports go one way: a folder is a stage of the method, and knows only the stages before it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GROUND = {"__init__", "errors", "figure", "files", "process", "progress_bar", "tables"}  # what knows no stage
GROUND |= {"packaged", "parser", "tensorboard_events", "terminal", "unforeseen", "versions"}
AT_THE_END = {"__init__", "cli", "commands", "completion", "run", "options", "help", "__main__"}  # what knows all
BEFORE = {
    "config": set(),
    "data": {"config"},
    "networks": {"config"},
    "study": {"config", "data"},
    "cluster": {"config", "data", "study"},
    "init": {"config", "data", "study", "cluster"},
    "extraction": {"config", "data", "networks", "study", "cluster"},
    "members": {"config", "data", "networks", "study", "cluster", "extraction"},
    "heads": {"config", "data", "networks", "study", "cluster", "extraction", "members"},
    "inference": {"config", "data", "networks", "study", "cluster", "extraction", "heads"},
    "report": {"config", "data", "networks", "study", "cluster", "extraction", "members", "heads"},
    "bottleneck": {"config", "data", "networks", "study", "cluster", "extraction", "members", "heads"},
    "tune": {"config", "data", "networks", "study", "cluster", "extraction", "members", "heads"},
    "verify": {"data", "study", "extraction"},
    "doctor": {"config", "data", "study", "cluster"},
}
HEAVY = {"torch", "torchvision", "lightning", "ffcv", "numba", "schedulefree"}
LIGHT = ("config", "study", "cluster", "report", "commands", "doctor", "cli.py")
MODULES = sorted(path.relative_to(ROOT) for path in (ROOT / "timecat").rglob("*.py"))


def imports(path: Path) -> list[tuple[str, bool]]:
    """Every module that a file imports, as timecat.data.beton, and whether it does when it is itself imported."""
    tree, found = ast.parse((ROOT / path).read_text()), []
    checked_only = {
        id(node)
        for condition in ast.walk(tree)
        if isinstance(condition, ast.If) and "TYPE_CHECKING" in ast.unparse(condition.test)
        for node in ast.walk(condition)
    }
    at_once = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            is_folder = (ROOT / str(node.module).replace(".", "/")).is_dir()
            names = [f"{node.module}.{alias.name}" if is_folder else str(node.module) for alias in node.names]
        found += [(name, id(node) in at_once and id(node) not in checked_only) for name in names]
    return found


def stage(module: str) -> str:
    """The folder of timecat.folder.file; nothing for a file of the ground."""
    parts = module.split(".")
    return parts[1] if len(parts) > 2 or (len(parts) == 2 and parts[1] in BEFORE) else ""


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_a_stage_imports_only_what_comes_before(path):
    parts = path.with_suffix("").parts[1:]
    if parts[0] in AT_THE_END:
        return
    assert parts[0] in BEFORE or parts[0] in GROUND, f"{path}: in no stage"
    for name, _ in imports(path):
        if not name.startswith("timecat."):
            continue
        assert name.split(".")[1] not in AT_THE_END, f"{path} imports {name}"
        if len(parts) == 1:
            assert not stage(name), f"{path} is of the ground, and imports {name}"
        else:
            assert stage(name) in BEFORE[parts[0]] | {"", parts[0]}, f"{path} imports {name}"


def test_what_answers_at_once_imports_nothing_heavy():
    """Not when it is imported, nor by what it then imports: config, study, cluster, report, and what these need."""
    at_once = {str(path): [name for name, now in imports(path) if now] for path in MODULES}
    todo = [str(path) for path in MODULES if path.parts[1] in LIGHT]
    seen = set(todo)
    while todo:
        path = todo.pop()
        for name in at_once[path]:
            assert name.split(".")[0] not in HEAVY, f"{path} imports {name}"
            file = f"{name.replace('.', '/')}.py"
            if file in at_once and file not in seen:
                seen.add(file)
                todo.append(file)


def test_folders_have_empty_inits():
    inits = [path for path in MODULES if path.name == "__init__.py" and len(path.parts) > 2]
    assert len(inits) >= 10
    assert all((ROOT / path).read_text() == "" for path in inits)


def test_no_test_imports_a_test():
    for path in (ROOT / "tests").rglob("*.py"):
        for name, _ in imports(path.relative_to(ROOT)):
            assert not name.startswith("tests.") or name.startswith("tests.support."), f"{path} imports {name}"


def test_no_module_imports_itself_by_way_of_others():
    """Which one is imported first would then decide whether it works."""
    names = {".".join(path.with_suffix("").parts): path for path in MODULES}

    def needed(path: Path) -> set[str]:
        found = {name for name, at_once in imports(path) if at_once}
        return {name if name in names else name.rpartition(".")[0] for name in found} & set(names)

    graph, done = {name: needed(path) for name, path in names.items()}, set()

    def walk(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join((*way, name))
        if name not in done:
            for other in graph[name]:
                walk(other, (*way, name))
            done.add(name)

    for name in graph:
        walk(name, ())
    assert len(done) == len(names) > 100
