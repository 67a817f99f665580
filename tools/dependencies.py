"""Writes into dvc.yaml, for each stage, the modules of this repository that it imports, and no others."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dvc.utils.serialize import modify_yaml

ROOT = Path(__file__).parents[1]


def main() -> None:
    with modify_yaml("dvc.yaml") as content:
        for name, stage in content["stages"].items():
            stage["deps"] = dependencies(name, stage)


def dependencies(name: str, stage: dict[str, Any]) -> list[str]:
    """Of a stage of dvc.yaml: data and other files as they are there, and modules as they are imported, sorted."""
    return sorted({each for each in stage["deps"] if not each.endswith(".py")} | modules(f"stages.{name}"))


def modules(module: str) -> set[str]:
    """Files of all modules of this repository that a module imports, directly or not, anywhere in its text."""
    found: set[str] = set()
    todo = [module]
    while todo:
        name = todo.pop()
        file = ROOT / name.replace(".", "/")
        file = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
        path = file.relative_to(ROOT).as_posix()
        if file.exists() and path not in found:
            found.add(path)
            todo += [*imports(ast.parse(file.read_text(encoding="utf-8"))), name.rpartition(".")[0]]
    return found


def imports(tree: ast.AST) -> Iterator[str]:
    """Modules that a text imports, and names from them, which may be modules too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


if __name__ == "__main__":
    main()
