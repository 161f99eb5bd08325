"""Reports about domains as other systems write them: by the shapes of RFC 7489 appendix C, RFC 9990
appendix B, RFC 8460 appendix B, and of the reports that large providers send."""

import gzip
import io
import json
import zipfile
from base64 import encodebytes
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

RECORD = """\
  <record>
    <row>
      <source_ip>{one.ip}</source_ip>
      <count>{one.messages}</count>
      <policy_evaluated>
        <disposition>{one.disposition}</disposition>
        <dkim>{one.dkim}</dkim>
        <spf>{one.spf}</spf>
        <reason><type>other</type><comment></comment></reason>
      </policy_evaluated>
    </row>
    <identifiers>
      <envelope_from>{one.spf_domain}</envelope_from>
      <header_from>{one.header_from}</header_from>
    </identifiers>
    <auth_results>
      <dkim>
        <domain>{one.dkim_domain}</domain>
        <result>{one.dkim}</result>
        <selector>{one.selector}</selector>
      </dkim>
      <spf>
        <domain>{one.spf_domain}</domain>
        <scope>mfrom</scope>
        <result>{one.spf}</result>
      </spf>
    </auth_results>
  </record>
"""
DMARC = """\
<?xml version="1.0" encoding="UTF-8" ?>
<feedback{namespace}>
  <version>1.0</version>
  <report_metadata>
    <org_name>{organization}</org_name>
    <email>noreply-dmarc@receiver.example</email>
    <extra_contact_info>https://receiver.example/dmarc</extra_contact_info>
    <report_id>{report_id}</report_id>
    <date_range>
      <begin>{begin}</begin>
      <end>{end}</end>
    </date_range>
  </report_metadata>
  <policy_published>
    <domain>{domain}</domain>
    <adkim>r</adkim>
    <aspf>r</aspf>
    <p>none</p>
    <sp>none</sp>
    <pct>100</pct>
  </policy_published>
{records}</feedback>
"""
NEW = ' xmlns="urn:ietf:params:xml:ns:dmarc-2.0"'  # RFC 9990
MAIL = """\
From: noreply-dmarc@receiver.example
To: {to}
Subject: Report Domain: {domain} Submitter: receiver.example Report-ID: <1@receiver.example>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="b1"

--b1
Content-Type: text/plain; charset=us-ascii

This is an aggregate report.
--b1
Content-Type: {kind}; name="{name}"
Content-Disposition: attachment; filename="{name}"
Content-Transfer-Encoding: base64

{file}
--b1--
"""


class Row(NamedTuple):
    """A record of a DMARC report."""

    ip: str = "192.0.2.1"
    messages: int = 1
    dkim: str = "pass"
    spf: str = "pass"
    disposition: str = "none"
    header_from: str = "sender.example"
    dkim_domain: str = "sender.example"
    selector: str = "r1"
    spf_domain: str = "bounce.sender.example"


def dmarc(
    *rows: Row, domain: str = "sender.example", report_id: str = "1", namespace: str = "",
    begin: datetime | None = None, organization: str = "receiver.example",
) -> bytes:  # fmt: skip
    start = int((begin or datetime.now(UTC)).timestamp()) // 86_400 * 86_400
    return DMARC.format(
        namespace=namespace, organization=organization, report_id=report_id, domain=domain,
        begin=start, end=start + 86_399, records="".join(RECORD.format(one=one) for one in rows),
    ).encode()  # fmt: skip


def tls(
    *, domain: str = "sender.example", successes: int = 10, failures: Sequence[tuple[str, int]] = ()
) -> bytes:
    today = datetime.now(UTC).date()
    detail = {"sending-mta-ip": "192.0.2.7", "receiving-mx-hostname": "MX1.sender.example"}
    report = {
        "organization-name": "Company-X",
        "date-range": {
            "start-datetime": f"{today}T00:00:00Z",
            "end-datetime": f"{today}T23:59:59Z",
        },
        "contact-info": "sts-reporting@company-x.example",
        "report-id": "5065427c-23d3-47ca-b6e0-946ea0e8c4be",
        "policies": [
            {
                "policy": {
                    "policy-type": "sts",
                    "policy-string": ["version: STSv1", "mode: testing"],
                    "policy-domain": domain,
                    "mx-host": ["*.sender.example"],
                },
                "summary": {
                    "total-successful-session-count": successes,
                    "total-failure-session-count": sum(count for _, count in failures),
                },
                "failure-details": [
                    {**detail, "result-type": kind, "failed-session-count": count}
                    for kind, count in failures
                ],
            }
        ],
    }
    return json.dumps(report).encode()


def zipped(content: bytes, name: str = "report.xml") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("folder/"), b"")
        archive.writestr(name, content, zipfile.ZIP_DEFLATED)
    return file.getvalue()


def mail(file: bytes, *, to: str = "rua@x", kind: str = "application/gzip") -> bytes:
    """A report in mail. file: as it is attached."""
    text = MAIL.format(
        to=to, domain="sender.example", kind=kind, name="r.xml.gz", file=encodebytes(file).decode()
    )
    return text.encode().replace(b"\n", b"\r\n")


def gzipped(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)
