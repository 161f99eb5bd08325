"""PostgreSQL with sslmode=verify-full: migrations, role URLs and pools."""

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
import sqlalchemy as sa

from cli.environment import migrate_all, migrations
from kernel.errors import Unavailable
from kernel.migrate import needs_migration, role_urls
from kernel.tls import CertificateFiles
from tests.support.postgres_tls import postgres_with_tls
from tests.support.stack import FreshDatabase, opened
from tests.support.tls import certificate_files


@pytest.fixture
def files(tmp_path: Path) -> CertificateFiles:
    """In a folder whose name has to be quoted in URLs."""
    return certificate_files(tmp_path / "a + b%", "127.0.0.1")


@pytest.fixture
def url(database: FreshDatabase, files: CertificateFiles) -> Iterator[Callable[..., str]]:
    """The owner's URL, which believes the authorities of these files."""
    plain = sa.make_url(database.url)
    assert plain.port
    with postgres_with_tls(plain.port, files) as port:

        def having(trusted: CertificateFiles, host: str = "127.0.0.1") -> str:
            base = plain.set(port=port, host=host).render_as_string(hide_password=False)
            return f"{base}?sslmode=verify-full&sslrootcert={quote(str(trusted.certificate))}"

        yield having


async def test_everything_that_connects_checks_the_server(
    url: Callable[..., str], files: CertificateFiles
) -> None:
    owner = url(files)
    migrate_all(owner)
    urls = role_urls(owner, ["router"])
    assert len(urls) == 2
    for own in urls.values():
        assert not needs_migration(own, "router", migrations()["router"])
        async with opened(own) as database, database.transaction() as tx:
            [(role,)] = await tx.rows("SELECT current_user", ())
            assert role in ("router_system", "router_tenant")
        with psycopg.connect(own) as connection:
            assert connection.pgconn.ssl_in_use


async def test_a_server_with_another_certificate_is_not_used(
    url: Callable[..., str], files: CertificateFiles, tmp_path: Path
) -> None:
    stranger = certificate_files(tmp_path / "stranger", "127.0.0.1")
    for wrong in (url(stranger), url(files, host="localhost")):
        with pytest.raises(Unavailable):
            migrate_all(wrong)
        own = role_urls(wrong, ["router"])["ROUTER_SYSTEM_DATABASE_URL"]
        async with opened(own) as database:
            with pytest.raises(Unavailable):
                async with database.transaction():
                    pass
