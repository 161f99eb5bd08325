"""Attachments by path: validation, names and types, concurrency."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import pytest

from contracts.ingest.v1.directory_pb2 import Tenant
from kernel import clock
from kernel.brand import Brands
from kernel.downloads import DownloadedFile, DownloadFailed
from mail.reachable import parse_networks
from services.ingest.api.brand_resolver import BrandResolver
from services.ingest.api.fetcher import AttachmentFetcher
from services.ingest.api.http import BODY_BYTES_MAX
from services.ingest.domain.attachments import FETCH_DISABLED, FetchPolicy
from services.ingest.domain.email import decode_email
from services.ingest.domain.problem import Problem
from services.ingest.domain.valid_email import ValidEmail, validate

OPEN = FetchPolicy("", ())
URL = "https://files.x.net/a%20b/in%C3%A9.pdf?x=1"


def read(*attachments: Mapping[str, object], fetch_policy: FetchPolicy = OPEN) -> ValidEmail:
    email = {
        "from": "a@x.net", "to": "b@y.net", "subject": "Hi", "text": "x", "attachments": attachments
    }  # fmt: skip
    decoded = decode_email(json.dumps(email).encode())
    return validate(decoded, clock.now(), test=True, fetch_policy=fetch_policy)


def refusal(
    *attachments: Mapping[str, object], fetch_policy: FetchPolicy = OPEN
) -> tuple[str, str, str]:
    with pytest.raises(Problem) as refused:
        read(*attachments, fetch_policy=fetch_policy)
    [fault] = refused.value.faults
    return fault.pointer, fault.code, fault.detail


def test_a_path_is_refused_where_fetching_is_disabled() -> None:
    assert refusal({"path": URL}, fetch_policy=FETCH_DISABLED) == (
        "#/attachments/0/path",
        "invalid_attachment",
        "attachments[0].path: Attachments by path are not enabled. Send content.",
    )


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "data:text/plain,x", "http://x.net/", "https://user@x.net/",
        "//x.net",
        "https://u:p@x.net/", "https://127.0.0.1/", "https://[::1]/", "https://169.254.169.254/",
        "",
        "https://x.net/\r\nX: y", "gopher://x.net/", "https://[::ffff:10.0.0.1]/", "x" * 3000,
    ],
)  # fmt: skip
def test_an_unsafe_url_is_refused_without_a_request(url: str) -> None:
    content = {"filename": "a", "content": "eA=="}
    pointer, code, detail = refusal(content, {"path": url})
    assert (pointer, code) == ("#/attachments/1/path", "invalid_attachment")
    assert detail.startswith("attachments[1].path: ")


def test_an_allowed_network_can_be_fetched_from_without_tls() -> None:
    allowed = FetchPolicy("", parse_networks(["127.0.0.0/8"]))
    assert read({"path": "http://127.0.0.1:80/a"}, fetch_policy=allowed).to_fetch


def test_an_attachment_has_either_content_with_a_filename_or_a_path() -> None:
    both = {"path": URL, "filename": "a", "content": "eA=="}
    assert refusal(both)[2].endswith("has both content and path. Send one of them.")
    assert refusal({"content": "eA=="})[:2] == (
        "#/attachments/0/filename", "missing_required_field",
    )  # fmt: skip
    assert refusal({"filename": "a"})[:2] == ("#/attachments/0/content", "missing_required_field")


@dataclass
class Files:
    """Replaces the download client."""

    download: Callable[[str, int], Awaitable[DownloadedFile]]

    async def get(self, url: str, *, octets_max: int, user_agent: str) -> DownloadedFile:
        assert user_agent == "OBM-Attachments/1"
        return await self.download(url, octets_max)


async def own(*_: object, **__: object) -> None:
    """Every From domain belongs to the caller."""


def fetcher(
    download: Callable[[str, int], Awaitable[DownloadedFile]],
    **more: Any,  # noqa: ANN401 - parameters of any type
) -> AttachmentFetcher:
    brands = BrandResolver(Brands(), lambda _: None)
    given: dict[str, Any] = {
        "brands": brands,
        "fetch_policy": OPEN,
        "emails_max": 8,
        "timeout_s": 30.0,
    } | more
    return AttachmentFetcher(
        cast(Any, SimpleNamespace(sending_domain_of=own)), cast(Any, Files(download)), **given
    )


def caller(tenant_id: str = "t1") -> Any:  # noqa: ANN401
    return SimpleNamespace(tenant_id=tenant_id, tenant=Tenant())


def completed(file: DownloadedFile, **fields: object) -> tuple[str, str, bytes, str]:
    async def download(url: str, octets_max: int) -> DownloadedFile:
        return file

    made = read({"filename": "first", "content": "eA=="}, {"path": URL, **fields})
    asyncio.run(fetcher(download).fetch_attachments(caller(), made, sent=0))
    first, one = made.content.attachments
    assert (first.filename, first.content) == ("first", b"x")
    return one.filename, one.content_type, one.content, one.content_id


@pytest.mark.parametrize(
    ("file", "fields", "filename", "content_type"),
    [
        (DownloadedFile(b"%", "", ""), {}, "iné.pdf", "application/pdf"),
        (
            DownloadedFile(b"%", "image/png; q=1", 'attachment; filename="../x.png"'),
            {},
            "x.png",
            "image/png",
        ),
        (DownloadedFile(b"%", "multipart/mixed", ""), {}, "iné.pdf", "application/pdf"),
        (DownloadedFile(b"%", "no type", ""), {}, "iné.pdf", "application/pdf"),
        (DownloadedFile(b"%", "a/b", 'x; filename="y"'), {"filename": "z.txt"}, "z.txt", "a/b"),
        (DownloadedFile(b"%", "a/b", ""), {"content_type": "text/csv"}, "iné.pdf", "text/csv"),
    ],
)
def test_name_and_type_come_from_the_response_or_the_url_if_the_request_lacks_them(
    file: DownloadedFile, fields: dict[str, object], filename: str, content_type: str
) -> None:
    found = completed(file, content_id="<one>", **fields)
    assert found[0] == filename
    assert found[1].partition(";")[0] == content_type
    assert found[2:] == (b"%", "one")


def test_files_count_towards_the_request_limit_and_a_failing_one_is_named() -> None:
    room: list[int] = []

    async def download(url: str, octets_max: int) -> DownloadedFile:
        room.append(octets_max)
        if len(room) == 2:
            raise DownloadFailed("The server returned 404.")
        return DownloadedFile(b"x" * 1000, "", "")

    made = read({"path": URL}, {"path": URL})
    with pytest.raises(Problem) as refused:
        asyncio.run(fetcher(download).fetch_attachments(caller(), made, sent=1024 * 1024))
    left = (BODY_BYTES_MAX - 1024 * 1024) // 4 * 3
    assert room == [left, left - 1000]
    assert (refused.value.status, refused.value.name) == (422, "invalid_attachment")
    assert refused.value.detail == "attachments[1].path: The server returned 404."


def test_a_fetch_that_takes_too_long_is_refused() -> None:
    async def download(url: str, octets_max: int) -> DownloadedFile:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(
        Problem, match=r"attachments\[0\].path: The server did not send it within 0.01 s"
    ):
        asyncio.run(
            fetcher(download, timeout_s=0.01).fetch_attachments(
                caller(), read({"path": URL}), sent=0
            )
        )


async def test_a_tenant_can_use_a_quarter_of_the_concurrent_fetches() -> None:
    come = asyncio.Event()

    async def download(url: str, octets_max: int) -> DownloadedFile:
        await come.wait()
        return DownloadedFile(b"x", "", "")

    one = fetcher(download, emails_max=8)

    def fetch_attachments(tenant_id: str) -> Coroutine[Any, Any, None]:
        return one.fetch_attachments(caller(tenant_id), read({"path": URL}), sent=0)

    waiting = [asyncio.create_task(fetch_attachments(f"t{n // 2}")) for n in range(4)]
    await asyncio.sleep(0)
    with pytest.raises(Problem, match="Too many attachments") as refused:
        await fetch_attachments("t0")
    assert (refused.value.status, refused.value.retry_after_s) == (429, 1)
    waiting += [asyncio.create_task(fetch_attachments(f"t{n}")) for n in range(2, 6)]
    await asyncio.sleep(0)
    with pytest.raises(Problem, match="Too many attachments"):
        await fetch_attachments("t9")
    come.set()
    await asyncio.gather(*waiting)
    await fetch_attachments("t0")
