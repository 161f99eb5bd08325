"""`obm suppressions import` and `export` in a shell: clients of the API."""

import asyncio
from pathlib import Path

from tests.support.ingest import IngestHarness
from tests.support.shell import Shell
from tests.support.suppressions import MemoryRouter, harness_with_imports, router

__all__ = ["router"]

harness = harness_with_imports()


async def test_a_file_is_imported_and_exported(
    harness: IngestHarness, router: MemoryRouter, tmp_path: Path
) -> None:
    async with harness.running():
        async with harness.directory() as directory:
            account = await directory.add_account("Acme")
            await directory.add_tenant(account.account_id, "shop")
        url = f"http://127.0.0.1:{harness.ports.ingest_http}/v1"
        shell = Shell({"OBM_API_URL": url, "OBM_OPERATOR_KEY": await harness.operator_key()})

        async def obm(*arguments: str) -> str:
            options = ("--tenant", "shop")
            return await asyncio.to_thread(shell.obm, "suppressions", *arguments, *options)

        gone = tmp_path / "gone.csv"
        gone.write_text("email,why\n" + "".join(f"n{n}@x.example,\n" for n in range(3_000)))
        printed = await obm("import", str(gone))
        assert "ignored columns: why" in printed
        assert "3,000 added, 0 were suppressed already, 0 failed" in printed

        gone.write_text("n1@x.example\n" + "wrong\n" * 25)
        printed = await obm("import", str(gone))
        assert "0 added, 1 were suppressed already, 25 failed" in printed
        assert "There are more" in printed
        wrong = tmp_path / "wrong.csv"
        await obm("import", str(gone), "--failed", str(wrong))
        assert len(wrong.read_text().splitlines()) == 26

        exported = tmp_path / "exported.csv"
        assert "3,000 suppressions written" in await obm("export", str(exported))
        assert len(exported.read_text().splitlines()) == 3_001
        assert "0 added, 3,000 were suppressed already" in await obm("import", str(exported))

        gone.write_bytes(b"n1@x.example\n\0")
        refused = await asyncio.to_thread(
            shell.refused, "suppressions", "import", str(gone), "--tenant", "shop"
        )
        assert refused == "obm: Line 2: The line contains NUL.\n"
        assert len(router.addresses()) == 3_000
        assert not list(tmp_path.glob("*.part"))
