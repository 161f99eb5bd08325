import json
import logging

from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from kernel import telemetry
from tests.support.spans import spans

__all__ = ["spans"]

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


def test_each_stage_is_a_span_and_the_parent_of_the_next(
    spans: InMemorySpanExporter,
) -> None:
    onward = telemetry.record_span(
        "router.screened", f"00-{TRACE}-{PARENT}-01".encode(), began_ns=1
    )

    [span] = spans.get_finished_spans()
    assert (span.name, span.start_time) == ("router.screened", 1)
    assert span.parent is not None
    assert (f"{span.parent.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, PARENT)
    assert onward == f"00-{TRACE}-{span.context.span_id:016x}-01".encode()


def test_an_unsampled_trace_is_passed_on_unchanged(spans: InMemorySpanExporter) -> None:
    quiet = f"00-{TRACE}-{PARENT}-00".encode()

    assert telemetry.record_span("router.screened", quiet, began_ns=1) == quiet
    assert telemetry.record_span("router.screened", None, began_ns=1) is None
    assert not spans.get_finished_spans()


def test_a_new_trace_is_sampled_only_with_a_collector(spans: InMemorySpanExporter) -> None:
    assert telemetry.new_traceparent().endswith("-01")


def test_without_a_collector_nothing_is_sampled() -> None:
    assert telemetry.new_traceparent().endswith("-00")


def test_a_log_line_is_one_json_object_with_its_extra_fields() -> None:
    record = logging.LogRecord("delivery", logging.INFO, "", 0, "delivery.attempted", None, None)
    record.message_id = "m"

    line = json.loads(telemetry.JsonLines("delivery").format(record))

    assert line.items() >= {
        "level": "info", "service": "delivery", "event": "delivery.attempted", "message_id": "m",
    }.items()  # fmt: skip


def test_a_repeated_warning_is_logged_at_intervals() -> None:
    def line(level: int, at_s: float) -> logging.LogRecord:
        return logging.makeLogRecord({"levelno": level, "created": at_s})

    seldom = telemetry.LogRateLimit()
    lines = [(logging.INFO, 0.0), (logging.WARNING, 1.0), (logging.WARNING, 2.0)]
    logged = [seldom.filter(line(level, at_s)) for level, at_s in lines]
    assert logged == [False, True, False]
    assert seldom.filter(line(logging.WARNING, 40.0))
