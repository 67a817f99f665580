"""Finds the modules of this repository that a module imports."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]


def modules(module: str) -> set[str]:
    """Returns the files of a module and of all modules of this repository that it imports, directly or indirectly."""
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
    """Yields the modules imported anywhere in a syntax tree, and the names imported from them: these can be modules."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
