"""What the pages name is there: commands, tables, calls, tests, and other pages."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from typer.main import get_command

from agentdb.aggregates import Aggregates
from agentdb.cli import app
from agentdb.models import tables

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
OURS = [ROOT / "docs" / name for name in ("coming-from.md", "security.md", "upgrading.md")]

LONGEST = 120
CODE = re.compile(r"`([^`\n]+)`")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"(?<![\w./-])agentdb ((?:--\w+ \S+ )*)([a-z][a-z-]*)((?: [^`\n|&;#)]*)?)")
CALL = re.compile(r"\b(?:db|unit|mine)\.([a-z_]+)\.([a-z_]+)(?:\.([a-z_]+))?")
PROOF = re.compile(r"(tests/[\w/]+\.py)(?:::(\w+))?")
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def pieces(page: Path) -> Iterator[str]:
    """Yield what a page writes as code: within its lines, and its lines of a shell."""
    text = text_of(page)
    for language, block in FENCE.findall(text):
        if language in {"console", "sh", ""}:
            yield block
    # Joined over ends of lines, as a paragraph is.
    yield from CODE.findall(re.sub(r"(?<!\n)\n(?![\n|#-])", " ", FENCE.sub("", text)))


def commands() -> dict[str, Any]:
    """Return the commands, by their words: ``import prices``."""
    group: Any = get_command(app)
    found = dict(group.commands)
    for name, one in group.commands.items():
        found |= {f"{name} {under}": inner for under, inner in getattr(one, "commands", {}).items()}
    return found


def named(page: Path) -> list[tuple[str, str]]:
    """Return the commands that a page names, with what follows each."""
    return [(word, rest) for piece in pieces(page) for _, word, rest in COMMAND.findall(piece)]


def repositories() -> dict[str, dict[str, type]]:
    """Return the repositories of each aggregate, by the steps of a call's path."""

    def properties(owner: type) -> dict[str, type]:
        within = vars(sys.modules[owner.__module__])
        return {
            name: get_type_hints(one.func, within)["return"]
            for name, one in vars(owner).items()
            if isinstance(one, cached_property)
        }

    return {name: properties(aggregate) for name, aggregate in properties(Aggregates).items()}


def anchors(page: Path) -> set[str]:
    heads = HEADING.findall(FENCE.sub("", text_of(page)))
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


def test_every_command_a_page_names_is_there_with_its_options(subtests: pytest.Subtests) -> None:
    known = commands()

    for page in PAGES:
        with subtests.test(page=page.name):
            for word, rest in named(page):
                assert word in known, f"agentdb {word}"
                words = shlex.split(
                    rest.replace("...", "").replace("[", "").replace("]", ""), comments=True, posix=True
                )
                command = known[word]
                if under := getattr(command, "commands", None):
                    inner = [one for one in words if one in under]
                    assert inner or not words, f"agentdb {word}{rest}"
                    command = known[f"{word} {inner[0]}"] if inner else command
                options = {flag for one in command.params for flag in (*one.opts, *one.secondary_opts)}
                for given in (one for one in words if one.startswith("-") and one != "--"):
                    assert given.split("=")[0] in {*options, "--help"}, f"agentdb {word}{rest}"


def test_commands_are_found_where_pages_name_them() -> None:
    pages = {page.name: named(page) for page in OURS}

    assert {word for word, _ in pages["coming-from.md"]} > {"import", "pull", "seed", "migrate", "reset"}
    assert ("keys", " new") in pages["coming-from.md"]  # within a line of a shell
    assert ("restore", " BACKUP --force") in pages["upgrading.md"]  # within a sentence


def test_every_table_of_ours_is_named_in_where_tables_went() -> None:
    spoken = set(CODE.findall(FENCE.sub("", text_of(ROOT / "docs" / "coming-from.md"))))

    assert tables.keys() - spoken == set()


def test_every_call_a_page_names_is_there(subtests: pytest.Subtests) -> None:
    known = repositories()

    for page in PAGES:
        with subtests.test(page=page.name):
            for aggregate, repository, method in CALL.findall(text_of(page)):
                if aggregate not in known or aggregate == "reports":
                    continue
                assert repository in known[aggregate], f"{aggregate}.{repository}"
                assert not method or hasattr(known[aggregate][repository], method), f"{aggregate}.{repository}.{method}"


def test_every_repository_named_in_where_tables_went_is_there() -> None:
    known = repositories()
    cells = re.findall(r"`([a-z]+)\.([a-z_]+)`", text_of(ROOT / "docs" / "coming-from.md"))
    named = [(aggregate, repository) for aggregate, repository in cells if aggregate in known]

    assert len(named) > len(tables)
    assert [pair for pair in named if pair[1] not in known[pair[0]]] == []


def test_every_test_a_page_names_is_there(subtests: pytest.Subtests) -> None:
    for page in PAGES:
        with subtests.test(page=page.name):
            for path, name in PROOF.findall(text_of(page)):
                source = (ROOT / path).read_text(encoding="utf-8")
                assert not name or re.search(rf"def {name}\(", source), f"{path}::{name}"


def test_every_page_and_heading_that_is_linked_is_there(subtests: pytest.Subtests) -> None:
    for page in OURS:
        with subtests.test(page=page.name):
            for link in LINK.findall(text_of(page)):
                place, _, heading = link.partition("#")
                target = page.parent / place if place else page
                assert target.is_file(), link
                assert not heading or heading in anchors(target), link


def test_no_line_is_longer_than_a_screen(subtests: pytest.Subtests) -> None:
    for page in OURS:
        with subtests.test(page=page.name):
            assert [line for line in text_of(page).splitlines() if len(line) > LONGEST] == []


def test_the_readme_leads_to_the_page(subtests: pytest.Subtests) -> None:
    for page in OURS:
        with subtests.test(page=page.name):
            assert f"(docs/{page.name})" in text_of(ROOT / "README.md")
