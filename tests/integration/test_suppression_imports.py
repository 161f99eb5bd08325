"""Files of suppressions are added in the background; what is wrong is named with its line."""

from collections.abc import AsyncIterator

import aiohttp

from tests.support.ingest import IngestHarness
from tests.support.suppressions import (
    CSV,
    IMPORTS,
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


async def test_a_file_is_added_and_what_fails_is_listed_with_its_line(
    harness: IngestHarness, router: MemoryRouter
) -> None:
    async with harness.running():
        await harness.sign_up(test=False)
        file = (
            b"email,origin,status\r\nann@x.example,,9\r\n"
            b"Ann@X.example,,9\r\n=cmd@x@y,bounce,\r\n\r\n"
            b'"bob@b\xc3\xbccher.example",complaint,\r\neve@x.example,spam,\r\n'
        )
        created = await upload(harness, file)
        assert created.headers["location"] == f"{IMPORTS}/{created.json['id']}"
        found = await completed(harness, created)
        assert counts(found) == (5, 2, 1, 2)
        assert found["ignored_columns"] == ["status"]
        assert router.addresses() == {"ann@x.example", "bob@xn--bcher-kva.example"}
        origins = {one.address: one.origin for one in router.suppressions.values()}
        assert origins["bob@xn--bcher-kva.example"] == "complaint"

        again = await completed(harness, await upload(harness, file))
        assert counts(again) == (5, 0, 3, 2)
        listed = (await harness.request("GET", f"{IMPORTS}?limit=1")).json
        assert ([one["id"] for one in listed["data"]], listed["has_more"]) == ([again["id"]], True)
        older = (await harness.request("GET", f"{IMPORTS}?after={again['id']}")).json
        assert older["data"] == [found]


async def test_the_lines_that_failed_are_listed_in_pages_and_as_csv(
    harness: IngestHarness, router: MemoryRouter
) -> None:
    async with harness.running():
        await harness.sign_up(test=False)
        file = b"email,origin\nann@x.example,\n\n=cmd@x@y,bounce\n" + file_of(2_000)
        found = await completed(harness, await upload(harness, file + b"eve@x.example,spam\n"))
        assert counts(found) == (2_003, 2_001, 0, 2)
        path = f"{IMPORTS}/{found['id']}/results"
        first = (await harness.request("GET", f"{path}?limit=1")).json
        assert first["has_more"]
        [wrong] = first["data"]
        assert (wrong["line"], wrong["email"]) == (4, "=cmd@x@y")
        assert wrong["problem"].startswith("Invalid address: ")
        rest = (await harness.request("GET", f"{path}?after=4")).json
        assert [one["line"] for one in rest["data"]] == [2_005]
        assert not rest["has_more"]
        as_csv = await harness.request("GET", path, headers={"Accept": "text/csv"})
        assert as_csv.headers["content-type"] == "text/csv; charset=utf-8"
        lines = as_csv.raw.decode().splitlines()
        assert lines[0] == "line,email,problem"
        assert lines[1].startswith("4,'=cmd@x@y,")
        assert len(lines) == 3


async def test_a_file_of_many_parts_is_added_in_bounded_calls(
    harness: IngestHarness, router: MemoryRouter
) -> None:
    async with harness.running():
        await harness.sign_up(test=False)
        created = await upload(harness, file_of(3_500) + file_of(500))
        assert counts(await completed(harness, created)) == (4_000, 3_500, 500, 0)
        assert router.calls == [1_000] * 4


HOSTILE = {
    "JSON": (b'{"emails": ["a@x.example"]}', 1),
    "NUL": (b"a@x.example\nb\0@x.example\n", 2),
    "Latin-1": (file_of(20_000) + b"\xfc@x.example\n", 20_001),
    "a long line": (b"a@x.example\n" + b"b" * 10_000_000, 2),
    "an unclosed quote": (b'a@x.example\n"b@x.example\n' + file_of(9_000), 2),
    "gzip": (b"\x1f\x8b\x08" + bytes(1_000), 1),
    "UTF-16": ("a@x.example\n".encode("utf-16"), 1),
    "too many lines": (b"a@b.cd\n" * 1_000_001, 1_000_001),
    "nothing": (b"", 1),
}


async def test_what_is_no_csv_is_refused_with_its_line_and_leaves_nothing(
    harness: IngestHarness, router: MemoryRouter
) -> None:
    async with harness.running():
        await harness.sign_up(test=False)
        for name, (octets, line) in HOSTILE.items():
            refused = await upload(harness, octets)
            assert refused.status == 422, name
            [fault] = refused.json["errors"]
            assert (fault["pointer"], fault["code"]) == (f"#/lines/{line}", "invalid_csv"), name
            assert fault["detail"].startswith(f"Line {line}: "), name
        assert stored(harness) == (0, 0)
        for octets, headers, status, problem in (
            (b"a@x.example", {"Content-Encoding": "gzip"}, 415, "unsupported_content_encoding"),
            (b"[]", {"Content-Type": "application/json"}, 415, "unsupported_media_type"),
            (b"a@x.example", {"Idempotency-Key": "1"}, 400, "invalid_idempotency_key"),
            (b"a@x.example\n" + bytes(105 * 1024 * 1024), {}, 413, "message_too_large"),
        ):
            refused = await upload(harness, octets, **headers)
            assert (refused.status, refused.json["name"]) == (status, problem)
        assert stored(harness) == (0, 0)
        assert router.addresses() == set()


async def test_a_body_without_a_length_is_bounded_too(
    harness: IngestHarness, router: MemoryRouter
) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for number in range(110):
            yield b"%d@x.example,%s\n" % (number, b"x" * 1_000) * 1_000

    async with harness.running(), aiohttp.ClientSession() as http:
        await harness.sign_up(test=False)
        url = f"http://127.0.0.1:{harness.ports.ingest_http}{IMPORTS}"
        headers = {**CSV, "Authorization": f"Bearer {harness.key}"}
        async with http.post(url, data=endless(), headers=headers) as refused:
            assert refused.status == 413
        assert stored(harness) == (0, 0)
        assert router.addresses() == set()


async def test_a_tenant_has_few_imports_at_a_time(
    harness: IngestHarness, router: MemoryRouter
) -> None:
    async with harness.running():
        await harness.sign_up(test=False)
        router.is_available = False
        created = [await upload(harness, b"n%d@x.example\n" % number) for number in range(5)]
        refused = await upload(harness, b"ann@x.example\n")
        assert (refused.status, refused.json["name"]) == (429, "rate_limit_exceeded")
        assert refused.headers["retry-after"] == "30"
        router.is_available = True
        for one in created:
            await completed(harness, one)
        assert (await upload(harness, b"ann@x.example\n")).status == 202


async def test_callers_see_what_is_theirs(harness: IngestHarness, router: MemoryRouter) -> None:
    async with harness.running():
        operator = await harness.operator_key()
        _, account = await harness.make_account(operator, "Acme")
        _, stranger = await harness.make_account(operator, "Other")
        tenants = [await harness.make("/v1/tenants", account, name=name) for name in ("a", "b")]
        created = []
        for tenant in tenants:
            named = {**CSV, "X-Tenant-Id": tenant["id"]}
            harness.key = account
            made = await harness.request("POST", IMPORTS, b"ann@x.example\n", headers=named)
            assert (made.status, made.json["tenant_id"]) == (202, tenant["id"])
            created.append(made.json["id"])
        missing = await harness.request("POST", IMPORTS, b"ann@x.example\n", headers=CSV)
        assert (missing.status, missing.json["name"]) == (422, "missing_required_field")
        for key, tenant, import_id in (
            (account, tenants[0]["id"], created[1]),
            (stranger, tenants[0]["id"], created[0]),
            (operator, tenants[1]["id"], created[0]),
        ):
            for path in (f"{IMPORTS}/{import_id}", f"{IMPORTS}/{import_id}/results"):
                foreign = await harness.request(
                    "GET", path, key=key, headers={"X-Tenant-Id": tenant}
                )
                assert foreign.status == 404
        test_key = (
            await harness.make(
                "/v1/api-keys", account, name="CI", tenant_id=tenants[0]["id"], test=True
            )
        )["token"]
        for method, path in (
            ("GET", IMPORTS), ("GET", f"{IMPORTS}/{created[0]}"), ("POST", IMPORTS),
            ("DELETE", f"{IMPORTS}/{created[0]}"), ("GET", "/v1/suppressions/export"),
        ):  # fmt: skip
            refused = await harness.request(method, path, b"", key=test_key, headers=CSV)
            assert (refused.status, refused.json["name"]) == (403, "restricted_api_key")
        for tenant in tenants:
            named = {"X-Tenant-Id": tenant["id"]}
            listed = await harness.request("GET", IMPORTS, key=operator, headers=named)
            assert [one["tenant_id"] for one in listed.json["data"]] == [tenant["id"]]
