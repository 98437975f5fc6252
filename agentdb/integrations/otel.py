"""OpenTelemetry: a span for each statement, and metrics of statements, waits and connections.

    stop = instrument(db)

Names follow the semantic conventions for databases. A statement of one call is a child of the span that call was made
in; one that answers many calls is a child of the first one's and linked to the others'. Spans and metrics hold the text
of a statement and never its parameters.

Source: https://opentelemetry.io/docs/specs/semconv/database/
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, TracerProvider, get_current_span, get_tracer
from opentelemetry.util.types import AttributeValue

from agentdb.database import Database
from agentdb.engine.events import Event, Statement, Wait
from agentdb.errors import Unavailable

_NAME: Final = "agentdb"
_BILLION: Final = 1_000_000_000


def instrument(
    database: Database, *, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
) -> Callable[[], None]:
    """Send what a database does to OpenTelemetry, and return what stops that.

    Args:
        database: open or not yet.
        tracer_provider: None: the global one.
        meter_provider: likewise.
    """
    telemetry = _Telemetry(database, tracer_provider, meter_provider)
    stop = database.observe(telemetry)

    def end() -> None:
        telemetry.over = True  # the gauges of a meter cannot be taken back
        stop()

    return end


class _Telemetry:
    """The hook."""

    def __init__(self, database: Database, tracers: TracerProvider | None, meters: MeterProvider | None) -> None:
        self._database = database
        self._tracer = get_tracer(_NAME, tracer_provider=tracers)
        meter = get_meter(_NAME, meter_provider=meters)
        self._duration = meter.create_histogram(
            "db.client.operation.duration", unit="s", description="How long statements take"
        )
        self._rows = meter.create_histogram(
            "db.client.response.returned_rows", unit="{row}", description="How many rows statements return or change"
        )
        self._waits = meter.create_histogram(
            "db.client.connection.wait_time", unit="s", description="How long calls wait for a connection or their turn"
        )
        meter.create_observable_up_down_counter(
            "db.client.connection.count", [self._count], unit="{connection}", description="Connections that are in use"
        )
        meter.create_observable_up_down_counter(
            "db.client.connection.max", [self._max], unit="{connection}", description="Connections at most"
        )
        meter.create_observable_up_down_counter(
            "db.client.connection.pending_requests",
            [self._pending],
            unit="{request}",
            description="Calls that wait for a connection or their turn",
        )
        self._base = _base(database)
        self.over = False

    def __call__(self, event: Event) -> None:
        if isinstance(event, Statement):
            self._statement(event)
        else:
            self._wait(event)

    def _statement(self, statement: Statement) -> None:
        common: dict[str, AttributeValue] = {**self._base, "db.operation.name": statement.name}
        if statement.error is not None:
            common["error.type"] = statement.error
        self._duration.record(statement.seconds, common)
        if statement.rows is not None:
            self._rows.record(statement.rows, common)
        began = int(statement.started_at.timestamp() * _BILLION)
        span = self._tracer.start_span(
            statement.name,
            kind=SpanKind.CLIENT,
            attributes={**common, **_details(statement)},
            links=_links(statement),
            start_time=began,
        )
        if statement.error is not None:
            span.set_status(Status(StatusCode.ERROR, statement.error))
        span.end(began + int(statement.seconds * _BILLION))

    def _wait(self, wait: Wait) -> None:
        attributes: dict[str, AttributeValue] = {**self._base, "db.client.connection.pool.name": wait.queue}
        if wait.error is not None:
            attributes["error.type"] = wait.error
        self._waits.record(wait.seconds, attributes)

    # Gauges

    def _state(self) -> dict[str, int]:
        """Return how the connections are doing; nothing when the database is closed."""
        try:
            return {} if self.over else self._database.connections()
        except Unavailable:
            return {}

    def _count(self, _: CallbackOptions) -> Iterable[Observation]:
        if state := self._state():
            yield Observation(state["in_use"], {**self._base, "db.client.connection.state": "used"})

    def _max(self, _: CallbackOptions) -> Iterable[Observation]:
        if state := self._state():
            yield Observation(state["size"], self._base)

    def _pending(self, _: CallbackOptions) -> Iterable[Observation]:
        if state := self._state():
            yield Observation(state["waiting"], self._base)


def _base(database: Database) -> dict[str, AttributeValue]:
    """Return which database it is: its kind, its name, and its server."""
    target = database.settings.target
    known: dict[str, Any] = {
        "db.system.name": target.system,
        "db.namespace": target.database,
        "server.address": target.host,
        "server.port": target.port if target.host else None,
    }
    return {name: value for name, value in known.items() if value}


def _details(statement: Statement) -> dict[str, AttributeValue]:
    details: dict[str, AttributeValue] = {"db.query.text": statement.sql}
    if statement.rows is not None:
        details["db.response.returned_rows"] = statement.rows
    if statement.batch > 1:
        details["db.operation.batch.size"] = statement.batch
    return details


def _links(statement: Statement) -> list[Link]:
    """Return links to the spans of the calls that a statement answers, but for the first."""
    contexts = [caller.copy().run(get_current_span).get_span_context() for caller in statement.callers[1:]]
    return [Link(context) for context in contexts if context.is_valid]
