"""Files of suppressions are read back by the import, and sent and read by gRPC."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from contracts.ingest.v1 import suppression_service_pb2 as pb
from contracts.ingest.v1.suppression_service_pb2_grpc import SuppressionServiceStub
from tests.support.ingest import IngestHarness
from tests.support.polling import until
from tests.support.suppressions import (
    MemoryRouter,
    completed,
    counts,
    file_of,
    harness_with_imports,
    router,
    stored,
    upload,
)

__all__ = ["router"]

harness = harness_with_imports()
ORIGINS = (b"manual", b"bounce", b"complaint", b"unsubscribe")


async def test_an_export_is_read_back_by_another_tenant(
    harness: IngestHarness, router: MemoryRouter
) -> None:
    async with harness.running():
        await harness.sign_up(test=False)
        first = b"list,email,origin,created_at,note,expires_at,reason\n" + b"".join(
            b'weekly %d,%s%d@x.example,%s,2026-0%d-01T00:00:00.%03dZ,"say ""hi"", %d",%s,r%d\n'
            % (n % 3, b"=+-'n"[n % 5 : n % 5 + 1], n, ORIGINS[n % 4], n % 9 + 1, n % 1000, n,
               b"" if n % 2 else b"2037-01-01T00:00:00.000Z", n % 7)
            for n in range(2_345)
        )  # fmt: skip
        assert counts(await completed(harness, await upload(harness, first)))[1] == 2_345
        exported = await harness.request("GET", "/v1/suppressions/export")
        assert exported.headers["content-type"] == "text/csv; charset=utf-8"
        lines = exported.raw.splitlines()
        assert lines[0] == b"email,origin,reason,list,note,expires_at,created_at"
        assert b'n4@x.example,manual,r4,weekly 1,"say ""hi"", 4",2037-01-01T00:00:00.000Z,' in (
            exported.raw
        )
        assert len(lines) == 2_346
        assert not [line for line in lines if line[:1] in b"=+-@"]
        await harness.sign_up(test=False)
        found = await completed(harness, await upload(harness, exported.raw))
        assert counts(found) == (2_345, 2_345, 0, 0)
        again = await harness.request("GET", "/v1/suppressions/export")
        assert sorted(again.raw.splitlines()) == sorted(lines)


@asynccontextmanager
async def service(harness: IngestHarness) -> AsyncIterator[Callable[[str, Any], Any]]:
    """A function that calls an RPC with the harness's key."""
    metadata = (("authorization", f"Bearer {harness.key}"),)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{harness.ports.ingest_grpc}") as channel:
        stub = SuppressionServiceStub(channel)
        yield lambda rpc, request: getattr(stub, rpc)(request, metadata=metadata)


def parts(octets: bytes, size: int = 10_000) -> Iterator[Any]:
    for start in range(0, len(octets), size):
        yield pb.CreateSuppressionImportRequest(csv=octets[start : start + size])


async def test_files_are_sent_and_read_by_grpc(
    harness: IngestHarness, router: MemoryRouter
) -> None:
    async with harness.running():
        await harness.sign_up(test=False)
        async with service(harness) as call:
            octets = b"email\n" + file_of(5_000) + b"wrong\n"
            made = await call("CreateSuppressionImport", parts(octets))
            created = getattr(made, "import")
            assert (created.lines, created.status) == (5_001, "queued")
            wanted = pb.GetSuppressionImportRequest(id=created.id)

            async def is_complete() -> bool:
                found = getattr(await call("GetSuppressionImport", wanted), "import")
                return bool((found.added, found.failed, found.status) == (5_000, 1, "completed"))

            await until(is_complete)
            page = pb.ListSuppressionImportResultsRequest(id=created.id, page_size=1)
            listed = await call("ListSuppressionImportResults", page)
            assert [(one.line, one.email) for one in listed.results] == [(5_002, "wrong")]
            assert listed.next_page_token == ""
            export = call("ExportSuppressions", pb.ExportSuppressionsRequest())
            exported = b"".join([one.csv async for one in export])
            assert len(exported.splitlines()) == 5_001

            deletion = pb.DeleteSuppressionImportRequest(id=created.id)
            assert (await call("DeleteSuppressionImport", deletion)).id == created.id
            left = await call("ListSuppressionImports", pb.ListSuppressionImportsRequest())
            assert list(left.imports) == []


async def test_grpc_refuses_what_rest_refuses(harness: IngestHarness, router: MemoryRouter) -> None:
    async with harness.running():
        await harness.sign_up(test=False)
        async with service(harness) as call:
            for octets, size, words in (
                (b"a@x.example\n\0\n", 5, "Line 2: The line contains NUL."),
                (b"a" * 4 * 1024 * 1024, 5 * 1024 * 1024, "larger than 4 MB"),
                (b"a@x.example\n" * 8_750_000, 4_000_000, "more than 1,000,000 addresses"),
                (b"", 1, "no message"),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await call("CreateSuppressionImport", parts(octets, size))
                assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
                assert words in str(refused.value.details())
            assert stored(harness) == (0, 0)
