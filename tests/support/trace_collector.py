"""An OTLP collector (opentelemetry-proto, trace_service.proto) that keeps the spans it receives."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class ReceivedSpan(NamedTuple):
    """id, parent_id: 16 hexadecimal digits. attributes: as text."""

    service: str
    name: str
    id: str
    parent_id: str
    began_ns: int
    attributes: dict[str, str]


@dataclass
class TraceCollector(TraceServiceServicer):
    url: str = ""
    _spans: dict[str, list[ReceivedSpan]] = field(default_factory=dict)

    def spans_of(self, trace_id: str) -> list[ReceivedSpan]:
        """In the order of their beginnings."""
        return sorted(self._spans.get(trace_id, []), key=lambda span: span.began_ns)

    def Export(  # noqa: N802 - its name in the contract
        self, request: ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> ExportTraceServiceResponse:
        for resource in request.resource_spans:
            own = {one.key: one.value.string_value for one in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    found = self._spans.setdefault(span.trace_id.hex(), [])
                    found.append(received(own["service.name"], span))
        return ExportTraceServiceResponse()


def received(service: str, span: Span) -> ReceivedSpan:
    attributes = {
        one.key: one.value.string_value or str(one.value.int_value) for one in span.attributes
    }
    return ReceivedSpan(
        service,
        span.name,
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.start_time_unix_nano,
        attributes,
    )


@contextmanager
def trace_collector() -> Iterator[TraceCollector]:
    collector = TraceCollector()
    server = grpc.server(ThreadPoolExecutor(2))
    add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]
    collector.url = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield collector
    finally:
        server.stop(grace=None).wait()
