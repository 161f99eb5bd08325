"""DMARC aggregate reports: RFC 9990, and RFC 7489 appendix C before it.

Reports are XML from strangers: document types, and with them entities, are refused; texts, depth
and octets are bounded. What a reporter leaves out is empty.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import NoReturn
from xml.parsers import expat

DEPTH_MAX = 16
TEXT_MAX = 512  # characters of an element
COUNT_MAX = 10**9  # messages of a record
AUTH_RESULTS_MAX = 10  # of a record
_PASSED = "pass"
_DISPOSITIONS = frozenset(("none", "quarantine", "reject"))


class ReportError(ValueError):
    """It is no such report; the message says why."""


@dataclass(frozen=True, slots=True)
class AuthResult:
    """A DKIM signature, or the SPF check. selector: of a signature; may be empty."""

    domain: str
    result: str
    selector: str = ""


@dataclass(frozen=True, slots=True)
class DmarcRecord:
    """Messages from one source. dkim_aligned, spf_aligned: passed with the domain of From.
    disposition: what the receiver did: none, quarantine or reject."""

    source_ip: str
    messages: int
    disposition: str
    dkim_aligned: bool
    spf_aligned: bool
    header_from: str
    dkim: tuple[AuthResult, ...] = ()
    spf: tuple[AuthResult, ...] = ()


@dataclass(frozen=True, slots=True)
class DmarcReport:
    """organization: the reporter. domain: whose policy was found, in lower case. begin: of the
    period."""

    organization: str
    report_id: str
    domain: str
    begin: datetime
    records: tuple[DmarcRecord, ...]


class _Reader:
    """Collects the texts of elements, and the records."""

    def __init__(self) -> None:
        self.path: list[str] = []
        self.text = ""
        self.head: dict[str, str] = {}
        self.record: dict[str, str] = {}
        self.result: dict[str, str] = {}
        self.results: dict[str, list[AuthResult]] = {}
        self.records: list[DmarcRecord] = []

    def start(self, name: str, _: object) -> None:
        self.path.append(name.rpartition(":")[2])
        self.text = ""
        if len(self.path) > DEPTH_MAX:
            raise ReportError("its elements are nested too deeply")
        if self.path[0] != "feedback":
            raise ReportError("it is not a DMARC report")

    def add(self, text: str) -> None:
        if len(self.text) < TEXT_MAX:
            self.text += text[: TEXT_MAX - len(self.text)]

    def end(self, _: str) -> None:
        text, path = _clean(self.text), self.path
        if path[1:2] == ["record"]:
            self._end_in_record(path[2:], text)
        else:
            self.head.setdefault("/".join(path[1:]), text)
        self.text = ""
        path.pop()

    def _end_in_record(self, path: list[str], text: str) -> None:
        if not path:
            self.records.append(_record(self.record, self.results))
            self.record, self.results = {}, {}
        elif path[0] != "auth_results":
            self.record.setdefault("/".join(path), text)
        elif len(path) == 3:
            self.result.setdefault(path[2], text)
        elif len(path) == 2:
            found = self.results.setdefault(path[1], [])
            if len(found) < AUTH_RESULTS_MAX:
                found.append(_auth_result(self.result))
            self.result = {}


def parse(xml: bytes) -> DmarcReport:
    """Raises ReportError."""
    reader = _Reader()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refuse_document_type
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.add
    try:
        parser.Parse(xml, True)
    except (expat.ExpatError, LookupError, UnicodeError) as error:
        raise ReportError(f"it is not XML: {error}") from None
    return _report(reader)


def _refuse_document_type(*_: object) -> NoReturn:
    raise ReportError("it has a document type, which can define entities")


def _report(reader: _Reader) -> DmarcReport:
    head = reader.head
    domain = head.get("policy_published/domain", "").lower().rstrip(".")
    if not domain:
        raise ReportError("it names no domain")
    return DmarcReport(
        head.get("report_metadata/org_name", ""),
        head.get("report_metadata/report_id", ""),
        domain,
        _time(head.get("report_metadata/date_range/begin", "")),
        tuple(reader.records),
    )


def _record(given: dict[str, str], results: dict[str, list[AuthResult]]) -> DmarcRecord:
    get: Callable[[str], str] = lambda name: given.get(name, "").lower()  # noqa: E731
    disposition = get("row/policy_evaluated/disposition")
    return DmarcRecord(
        _address(get("row/source_ip")),
        _count(get("row/count")),
        disposition if disposition in _DISPOSITIONS else "none",
        get("row/policy_evaluated/dkim") == _PASSED,
        get("row/policy_evaluated/spf") == _PASSED,
        get("identifiers/header_from").rstrip("."),
        tuple(results.get("dkim", ())),
        tuple(results.get("spf", ())),
    )


def _auth_result(given: dict[str, str]) -> AuthResult:
    domain = given.get("domain", "").lower().rstrip(".")
    return AuthResult(domain, given.get("result", "").lower(), given.get("selector", "").lower())


def _address(text: str) -> str:
    """Empty if it is none."""
    try:
        return str(ip_address(text))
    except ValueError:
        return ""


def _count(text: str) -> int:
    return min(int(text), COUNT_MAX) if text.isdecimal() and len(text) < 20 else 0


def _time(text: str) -> datetime:
    """Seconds since 1970; some reporters add a fraction. Raises ReportError."""
    try:
        return datetime.fromtimestamp(int(text.partition(".")[0]), UTC)
    except (ValueError, OverflowError, OSError):
        raise ReportError("it has no valid period") from None


def _clean(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text).strip()
