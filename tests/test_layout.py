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
NAME = re.compile(r"(?i)sqlite|postgres")


def _prose_removed(text: str) -> str:
    """Return a module's code without docstrings and comments, which may name whom they please."""
    tree = ast.parse(text)
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


def test_only_the_engine_and_its_like_name_a_database() -> None:
    named = []
    for path in FILES:
        inside = path.relative_to(ROOT)
        text = path.read_text()
        if inside.parts[0] in NAMING or str(inside) in NAMING_FILES or not NAME.search(text):
            continue
        code = _prose_removed(text)
        code = code.replace("which PostgreSQL cannot store", "")  # told to the caller
        if NAME.search(code):
            named.append(str(inside))

    assert len(FILES) > 300
    assert named == []


def test_a_file_is_one_noun() -> None:
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in FILES}

    assert {name: many for name, many in lines.items() if many > 300} == {}


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
