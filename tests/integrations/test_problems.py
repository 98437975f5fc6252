"""Errors as HTTP answers: what the caller did wrong is told, what went wrong here is not."""

from __future__ import annotations

import pytest

from agentdb import errors
from agentdb.errors import AgentDBError, Conflict, MissingReference
from agentdb.integrations.problems import problem_of

TOLD: dict[type[AgentDBError], int] = {
    errors.BadInput: 422,
    errors.BudgetExceeded: 402,
    errors.Conflict: 409,
    errors.InvalidTransition: 409,
    errors.MissingReference: 422,
    errors.NotFound: 404,
    errors.StaleVersion: 409,
}
HIDDEN: dict[type[AgentDBError], int] = {
    errors.BadSettings: 500,
    errors.Contended: 503,
    errors.DatabaseCorrupt: 500,
    errors.DecryptionFailed: 500,
    errors.ReadOnly: 500,
    errors.SchemaMismatch: 500,
    errors.Unavailable: 503,
}


def test_every_error_has_an_answer() -> None:
    def tree(kind: type[AgentDBError]) -> set[type[AgentDBError]]:
        return {kind}.union(*(tree(below) for below in kind.__subclasses__()))

    ours = {kind for kind in tree(AgentDBError) if kind.__module__ == errors.__name__}
    assert ours == {AgentDBError, *TOLD, *HIDDEN}


def test_what_the_caller_did_wrong_is_told(subtests: pytest.Subtests) -> None:
    for kind, status in TOLD.items():
        with subtests.test(kind=kind.__name__):
            problem = problem_of(kind("there is no user 7"))

            assert problem.status == problem.document["status"] == status
            assert problem.document["detail"] == "there is no user 7"
            assert problem.document["title"] == problem.status.phrase
            assert problem.headers == {}


def test_what_went_wrong_here_is_logged_and_not_told(
    caplog: pytest.LogCaptureFixture, subtests: pytest.Subtests
) -> None:
    for kind, status in HIDDEN.items():
        caplog.clear()
        with subtests.test(kind=kind.__name__):
            problem = problem_of(kind("db-7.internal refuses"))

            assert problem.status == status
            assert "db-7" not in str(problem.document)
            assert "db-7.internal refuses" in caplog.text
            assert ("Retry-After" in problem.headers) == kind.retryable


def test_a_callers_own_kind_of_error_is_answered_as_what_it_is() -> None:
    class NoSuchPet(errors.NotFound):
        pass

    problem = problem_of(NoSuchPet("there is no pet 7"))

    assert (problem.status, problem.document["code"]) == (404, "not_found")


@pytest.mark.parametrize("kind", [Conflict, MissingReference])
def test_the_rule_that_refused_is_named(kind: type[Conflict | MissingReference]) -> None:
    named = problem_of(kind("taken", constraint="uq_users__username"))
    unnamed = problem_of(kind("taken"))

    assert named.document["constraint"] == "uq_users__username"
    assert "constraint" not in unnamed.document
