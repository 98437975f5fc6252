"""Every method of every repository, as one user calls it: a new one cannot be forgotten."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping

import pytest

from agentdb.database import Database
from tests.tenants import calls
from tests.tenants.walking import Call, methods, repositories, walk
from tests.tenants.worlds import make_world

REPOSITORIES = dict(repositories())
CALLS: dict[str, Mapping[str, Call]] = {
    f"{module.name}.{noun}": called
    for module in pkgutil.iter_modules(calls.__path__)
    for noun, called in importlib.import_module(f"{calls.__name__}.{module.name}").CALLS.items()
}


def test_every_method_is_called(subtests: pytest.Subtests) -> None:
    for path in sorted(REPOSITORIES):
        with subtests.test(path=path):
            aggregate, noun = path.split(".")
            forgotten = methods(REPOSITORIES[path]) - set(CALLS.get(path, ()))

            assert not forgotten, (
                f"{path} has methods that nobody calls as a user: {', '.join(sorted(forgotten))}; add to "
                f"CALLS[{noun!r}] in tests/tenants/calls/{aggregate}.py how each is called with what a person owns"
            )


def test_every_call_is_of_a_method() -> None:
    known = {f"{path}.{name}" for path, repository in REPOSITORIES.items() for name in dir(repository)}

    assert {f"{path}.{name}" for path, called in CALLS.items() for name in called} <= known


@pytest.mark.parametrize("aggregate", sorted({path.partition(".")[0] for path in REPOSITORIES}))
async def test_another_users_things_are_as_good_as_not_there(db: Database, aggregate: str) -> None:
    world = await make_world(db)

    problems = await walk(db, world, {path: CALLS[path] for path in CALLS if path.startswith(f"{aggregate}.")})

    assert not problems, "\n".join(problems)
