"""The layout's promises: where the databases are named, how long a file is, what a package offers."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from pathlib import Path

import pytest

import agentdb

ROOT = Path(agentdb.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
NAMING = {"engine", "cli", "testing"}
NAMING_FILES = {"config.py", "urls.py", "migrating.py"}


def _prose_removed(path: Path) -> str:
    """Return a module's code without docstrings and comments, which may name whom they please."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:] or [ast.Pass()]
        if isinstance(node, ast.ClassDef):  # the docstrings of attributes
            node.body = [
                item for item in node.body if not (isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant))
            ] or [ast.Pass()]
    return ast.unparse(tree)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_engine_and_its_like_name_a_database(path: Path) -> None:
    inside = path.relative_to(ROOT)
    if inside.parts[0] in NAMING or str(inside) in NAMING_FILES:
        return
    code = _prose_removed(path)
    code = code.replace("which PostgreSQL cannot store", "")  # told to the caller

    assert not re.search(r"(?i)sqlite|postgres", code)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_one_noun(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300


@pytest.mark.parametrize("name", ["agentdb", "agentdb.models"])
def test_what_a_front_door_offers_is_complete_and_sorted(name: str) -> None:
    module = importlib.import_module(name)
    offered = list(module.__all__)

    assert offered == sorted(offered)
    assert all(hasattr(module, word) for word in offered)
    own = {
        word
        for word, value in vars(module).items()
        if inspect.isclass(value) and value.__module__.startswith("agentdb.") and not word.startswith("_")
    }
    assert own - set(offered) <= {"Entity"}


def test_every_error_is_offered() -> None:
    from agentdb import errors

    raised = {name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, Exception)}
    assert raised <= set(agentdb.__all__)
