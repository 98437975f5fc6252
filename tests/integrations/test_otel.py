"""What arrives at OpenTelemetry: spans with the right parents, times and names, and metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from agentdb.database import Database
from agentdb.errors import Conflict
from agentdb.integrations.otel import instrument
from agentdb.testing.factories import make_user
from tests.execution.queues import make_workflow


class Telemetry:
    """What was exported of one database."""

    def __init__(self, database: Database) -> None:
        self._spans = InMemorySpanExporter()
        self._metrics = InMemoryMetricReader()
        tracers = TracerProvider(shutdown_on_exit=False)
        tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self.meters = MeterProvider([self._metrics], shutdown_on_exit=False)
        self.tracer = tracers.get_tracer("the program")
        self.stop = instrument(database, tracer_provider=tracers, meter_provider=self.meters)

    def spans(self) -> list[ReadableSpan]:
        """Return the spans of statements since the last time."""
        found = [span for span in self._spans.get_finished_spans() if span.kind is SpanKind.CLIENT]
        self._spans.clear()
        return found

    def metrics(self) -> dict[str, list[Any]]:
        """Return the points of each metric."""
        told = self._metrics.get_metrics_data()
        return {
            metric.name: list(metric.data.data_points)
            for resource in (told.resource_metrics if told else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


@pytest.fixture
def telemetry(db: Database) -> Iterator[Telemetry]:
    telemetry = Telemetry(db)
    yield telemetry
    telemetry.meters.shutdown()


async def test_a_statement_is_a_span_below_its_callers(db: Database, telemetry: Telemetry) -> None:
    user = await make_user(db)
    telemetry.spans()

    with telemetry.tracer.start_as_current_span("request") as request:
        await db.supervisor.users.get(user.id)
        await db.supervisor.users.count()

    got, counted = telemetry.spans()
    for span in (got, counted):
        assert span.parent is not None
        assert span.parent.span_id == request.get_span_context().span_id
        assert span.start_time is not None
        assert span.end_time is not None
        assert span.start_time < span.end_time
    assert got.attributes is not None
    assert got.name == got.attributes["db.operation.name"]
    assert got.attributes["db.system.name"] == db.settings.target.system
    assert str(got.attributes["db.query.text"]).startswith("SELECT")
    assert got.attributes["db.response.returned_rows"] == 1


async def test_a_refusal_is_an_error_by_our_kind_and_tells_no_value(db: Database, telemetry: Telemetry) -> None:
    await make_user(db, username="alice")
    with pytest.raises(Conflict):
        await make_user(db, username="alice")

    failed = [span for span in telemetry.spans() if span.status.status_code is StatusCode.ERROR]
    assert [span.attributes and span.attributes["error.type"] for span in failed] == ["Conflict"]
    assert "alice" not in failed[0].to_json()


async def test_calls_that_are_answered_together_are_all_found(db: Database, telemetry: Telemetry) -> None:
    user, workflow = await make_user(db), await make_workflow(db)
    telemetry.spans()
    requests = set()

    async def call() -> None:
        with telemetry.tracer.start_as_current_span("request") as request:
            requests.add(request.get_span_context().span_id)
            await db.execution.executions.enqueue(workflow.id, user.id)

    await asyncio.gather(*(call() for _ in range(9)))

    spans = [span for span in telemetry.spans() if span.name == "executions.enqueue"]
    parents = [span.parent.span_id for span in spans if span.parent is not None]
    linked = [link.context.span_id for span in spans for link in span.links]
    assert sorted(parents + linked) == sorted(requests)
    assert max(int((span.attributes or {}).get("db.operation.batch.size", 1)) for span in spans) > 1  # type: ignore[arg-type]


async def test_metrics_count_statements_rows_and_waits(db: Database, telemetry: Telemetry) -> None:
    user, workflow = await make_user(db), await make_workflow(db)
    await asyncio.gather(*(db.execution.executions.enqueue(workflow.id, user.id) for _ in range(9)))
    async with db.write() as unit:
        await unit.supervisor.users.count()
        metrics = telemetry.metrics()

    def of(name: str, key: str, value: str) -> Any:
        (point,) = [point for point in metrics[name] if point.attributes.get(key) == value]
        return point

    enqueued = of("db.client.operation.duration", "db.operation.name", "executions.enqueue")
    assert enqueued.count >= 1
    assert enqueued.sum > 0
    assert of("db.client.response.returned_rows", "db.operation.name", "executions.enqueue").sum == 9
    queue = "writer queue" if db.settings.target.system == "sqlite" else "joined calls"
    assert of("db.client.connection.wait_time", "db.client.connection.pool.name", queue).count >= 1
    assert [point.value for point in metrics["db.client.connection.count"]] == [1]
    assert [point.value for point in metrics["db.client.connection.max"]] == [db.connections()["size"]]
    assert [point.value for point in metrics["db.client.connection.pending_requests"]] == [0]


async def test_after_its_end_nothing_is_sent(db: Database, telemetry: Telemetry) -> None:
    telemetry.stop()
    await make_user(db)

    assert telemetry.spans() == []
    assert telemetry.metrics() == {}


async def test_a_closed_database_has_no_gauges(db: Database, telemetry: Telemetry) -> None:
    await db.close()

    assert telemetry.metrics() == {}
