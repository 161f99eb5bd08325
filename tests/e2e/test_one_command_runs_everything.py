"""`obm run` on a new machine."""

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cli.environment import Ports
from tests.support.stack import FreshDatabase
from tests.support.tls import client_context, misbehave, shake_hands

LAST_LINE = "Press Ctrl-C to stop."
OWN_SERVERS = ("OBM_KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL")


@contextmanager
def obm_run(data: Path, *arguments: str, **settings: str) -> Iterator["subprocess.Popen[str]"]:
    environment = {k: v for k, v in os.environ.items() if k not in OWN_SERVERS} | settings
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", "run", f"--data={data}", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def read_until(process: "subprocess.Popen[str]", last: str) -> str:
    assert process.stdout is not None
    read = ""
    for line in process.stdout:
        read += line
        if last in line:
            return read
    raise AssertionError(f"it ended before saying {last!r}:\n{read}")


def end(process: "subprocess.Popen[str]") -> tuple[int, str]:
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate()
    return process.returncode, rest


def exported_variables(output: str) -> dict[str, str]:
    """The environment of a shell after pasting the two lines."""
    return dict(re.findall(r"export (OBM_\w+)=(\S+)", output))


def request(shell: dict[str, str], path: str, body: dict[str, str] | None = None) -> dict[str, Any]:
    request = urllib.request.Request(
        shell["OBM_API_URL"] + path,
        json.dumps(body).encode() if body else None,
        {
            "Authorization": f"Bearer {shell['OBM_API_KEY']}",
            "Content-Type": "application/json",
        },
    )
    context = ssl.create_default_context(cafile=shell["OBM_CERTIFICATE"])
    with urllib.request.urlopen(request, timeout=120, context=context) as response:
        content: dict[str, Any] = json.load(response)
        return content


def send(shell: dict[str, str]) -> str:
    """Run the printed curl command; returns when the email is in the log."""
    email = {
        "from": "me@hello.obm-sandbox.net",
        "to": "delivered@obm-sandbox.net",
        "subject": "Hi",
        "text": "Hello",
    }
    email_id = str(request(shell, "/emails", email)["id"])
    while email_id not in str(request(shell, "/emails?limit=5")):
        time.sleep(0.1)
    return email_id


def add_domain(data: Path, shell: dict[str, str]) -> str:
    """Add a domain in another shell while the engine runs. Returns the domains."""

    def obm(*arguments: str) -> str:
        environment = {k: v for k, v in os.environ.items() if k not in OWN_SERVERS}
        command = [sys.executable, "-m", "cli", f"--data={data}", *arguments]
        return subprocess.check_output(command, text=True, env=environment).strip()

    obm("account", "create", "Acme")
    obm("tenant", "create", "shop", "--account", "Acme")
    obm("domain", "add", "shop.example.net", "--tenant", "shop")
    key = obm("key", "create", "--tenant", "shop", "--live")
    [domain] = request({**shell, "OBM_API_KEY": key}, "/domains")["data"]
    return str(domain["name"])


def test_obm_run_delivers_a_first_message_and_finds_it_after_a_restart(tmp_path: Path) -> None:
    with obm_run(tmp_path, "--free-ports") as process:
        output = read_until(process, LAST_LINE)
        steps = ["email.sent", "message.screened", "message.assigned", "message.attempted"]
        assert all(step in output for step in [*steps, "email.delivered"]), output
        [brands] = [line for line in output.splitlines() if "brands." in line]
        assert "set unsubscribe_host in the file OBM_BRANDS_FILE" in brands
        assert re.search(r"Kafka +127\.0\.0\.1:\d+", output)
        [links] = re.findall(r"links in mail +(http://\S+)", output)
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{links}/c/forged", timeout=10)
        email_id = send(exported_variables(output))
        assert add_domain(tmp_path, exported_variables(output)) == "shop.example.net"
        code, rest = end(process)
        assert code == 0, rest
        assert "Traceback" not in output + rest, output + rest

    with obm_run(tmp_path, "--free-ports") as process:
        again = read_until(process, LAST_LINE)
        assert f"found messages of earlier runs, the last one is {email_id}" in again
        assert exported_variables(again)["OBM_API_KEY"] == exported_variables(output)["OBM_API_KEY"]
        assert end(process)[0] == 0


def test_obm_run_serves_tls_with_a_certificate_that_it_makes(tmp_path: Path) -> None:
    with obm_run(tmp_path, "--free-ports", "--tls") as process:
        output = read_until(process, LAST_LINE)
        shell = exported_variables(output)
        assert shell["OBM_API_URL"].startswith("https://localhost:")
        assert '--cacert "$OBM_CERTIFICATE"' in output
        assert send(shell)
        found = re.search(r"gRPC +localhost:(\d+) \(TLS\)", output)
        assert found is not None
        grpc, http = int(found[1]), int(shell["OBM_API_URL"].split(":")[2].split("/")[0])
        for port, protocol in ((grpc, "h2"), (http, "http/1.1")):
            misbehave(port)
            assert shake_hands(port, context=client_context(alpn=protocol)).alpn == protocol
            with pytest.raises(ssl.SSLError):
                shake_hands(port, context=client_context(maximum=ssl.TLSVersion.TLSv1_2))
        code, rest = end(process)
        assert (code, rest.splitlines()[0]) == (0, "stopping …"), rest


def test_a_port_in_use_is_a_one_line_error(tmp_path: Path) -> None:
    with socket.socket() as occupant:
        occupant.bind(("127.0.0.1", 0))
        occupant.listen()
        port = occupant.getsockname()[1]
        with obm_run(tmp_path, f"--port={port}") as process:
            output, _ = process.communicate()

    assert process.returncode == 2
    assert f"Port {port} (ingest http) is in use" in " ".join(output.split())
    assert "Traceback" not in output


def test_one_port_for_two_listeners_is_a_one_line_error(tmp_path: Path) -> None:
    port = str(Ports().submission)
    with obm_run(tmp_path, f"--port={port}") as process:
        output, _ = process.communicate()

    assert process.returncode == 2
    assert f"Port {port} is that of ingest http and submission" in " ".join(output.split())


def test_an_invalid_setting_is_a_one_line_error(
    tmp_path: Path, bootstrap_servers: str, database: FreshDatabase
) -> None:
    servers = dict(zip(OWN_SERVERS, (bootstrap_servers, database.url), strict=True))
    settings = {**servers, "ROUTER_TICK_MESSAGES_MAX": "many"}
    with obm_run(tmp_path, "--free-ports", **settings) as process:
        output, _ = process.communicate()

    assert process.returncode == 2
    assert "tick_messages_max" in output.lower()
    assert "Traceback" not in output
