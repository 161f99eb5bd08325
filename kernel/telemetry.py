"""Logs, one wide structured line per unit of work, and traces that go through Kafka's headers."""

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from kernel.settings import Settings

_STANDARD = set(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_propagator = TraceContextTextMapPropagator()
_tracer: trace.Tracer | None = None


def start(service: str, settings: Settings) -> None:
    """Once per process, before anything else."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(service) if settings.log_format == "json" else Console())
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    for noisy in ("aiokafka", "faststream", "asyncio", "httpx", "mail.log", "psycopg.pool"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    if settings.otlp_endpoint:
        _start_tracing(service, settings)


def _start_tracing(service: str, settings: Settings) -> None:
    global _tracer  # noqa: PLW0603 - one provider per process
    provider = TracerProvider(
        resource=Resource.create({"service.name": f"obm-{service}"}),
        sampler=ParentBased(TraceIdRatioBased(settings.trace_share)),
    )
    exporter = OTLPSpanExporter(endpoint=settings.otlp_endpoint, insecure=True)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    _tracer = provider.get_tracer("obm")


def new_traceparent() -> str:
    """W3C Trace Context for a request that brought none, not sampled."""
    return f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-00"


@contextmanager
def span(name: str, traceparent: str = "", **attributes: str | int | float) -> Iterator[str]:
    """A span of the trace that traceparent names; yields the traceparent for what follows.

    Costs nothing while no exporter is set: the context is passed on as it came.
    """
    if _tracer is None:
        yield traceparent
        return
    context = _propagator.extract({"traceparent": traceparent}) if traceparent else None
    with _tracer.start_as_current_span(name, context=context, attributes=attributes):
        carrier: dict[str, str] = {}
        _propagator.inject(carrier)
        yield carrier.get("traceparent", traceparent)


class JsonLines(logging.Formatter):
    """A JSON object per line: time, level, service, event, and everything in `extra`."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
            "event": record.getMessage(),
            **_extra(record),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class Console(logging.Formatter):
    """The same for a person's eyes."""

    def format(self, record: logging.LogRecord) -> str:
        extra = " ".join(f"{name}={value}" for name, value in _extra(record).items())
        text = f"{record.levelname.lower():7} {record.name}: {record.getMessage()} {extra}".rstrip()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return text


def _extra(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in record.__dict__.items() if name not in _STANDARD}
