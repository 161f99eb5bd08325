"""Reports about a domain in mail: DMARC aggregate reports (RFC 9990 §2.6) and TLS reports (RFC 8460
§5.3), attached as files."""

from collections.abc import Iterator
from typing import TypeAlias, Union

from mail import dmarc_report, parser, tls_rpt_inbound
from mail.dmarc_report import DmarcReport, ReportError
from mail.tls_rpt_inbound import InboundTlsReport
from mail.unpack import UnpackError, unpack

FILES_MAX = 5  # parts that are tried
DomainReport: TypeAlias = Union[DmarcReport, InboundTlsReport]


def find_report(raw: bytes) -> DomainReport:
    """The first report in a message. Raises ReportError."""
    problem = "it has no report"
    for file in _files(raw):
        try:
            return _parse(unpack(file))
        except (ReportError, UnpackError) as error:
            problem = str(error)
    raise ReportError(problem)


def _files(raw: bytes) -> Iterator[bytes]:
    count = 0
    for part in parser.walk(parser.parse_entity(raw)):
        kind = part.content_type[0]
        if kind.startswith(("multipart/", "message/")) or kind in {"text/plain", "text/html"}:
            continue
        count += 1
        if count > FILES_MAX:
            return
        yield part.content()


def _parse(content: bytes) -> DomainReport:
    """Raises ReportError."""
    if content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        return tls_rpt_inbound.parse(content.removeprefix(b"\xef\xbb\xbf"))
    return dmarc_report.parse(content)
