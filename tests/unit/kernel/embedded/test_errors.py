"""The error for an operator when a server does not start."""

from pathlib import Path

import pytest

from kernel.embedded.errors import explain_exit


@pytest.mark.parametrize(
    ("wrote", "reads"),
    [
        ('FATAL:  could not write lock file "postmaster.pid": No space left on device', "No space"),
        ("LOG:  could not bind IPv4 address\nFATAL: could not create", "the port is taken"),
        ("java.net.BindException: Address already in use", "the port is taken"),
        ("one\nERROR the reason\nlast", "did not start: ERROR the reason"),
        ("one\nlast", "did not start: last"),
        ("", "it wrote nothing"),
    ],
)
def test_the_reason_is_found_in_the_log(tmp_path: Path, wrote: str, reads: str) -> None:
    log = tmp_path / "server.log"
    log.write_text("ERROR of an earlier run\n" + wrote)
    error = explain_exit("Server", 1234, log, since=len("ERROR of an earlier run\n"))
    assert reads in str(error)
    assert "\n" not in str(error)
