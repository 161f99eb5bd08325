"""`obm` as a client of the API: where it finds the address and the key, and what its errors say."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from cli.api import CREDENTIALS, DEFAULT_URL, Api, Credentials, find_credentials
from kernel.errors import ConfigError

STORED = {"api_url": "http://127.0.0.1:9025/v1", "operator_key": "stored", "api_key": "test"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / CREDENTIALS).write_text(json.dumps(STORED))
    return tmp_path


@contextmanager
def responding(status: int, body: bytes) -> Iterator[str]:
    """The URL of an API with this response to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            server.shutdown()
            thread.join()


def problem_of(url: str, key_from: str = "OBM_OPERATOR_KEY") -> str:
    with pytest.raises(ConfigError) as refused:
        Api(Credentials(url, "key", key_from)).get("/accounts")
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_the_environment_comes_before_the_data_folder(folder: Path) -> None:
    both = {"OBM_OPERATOR_KEY": "mine", "OBM_API_KEY": "other", "OBM_API_URL": "http://x/v1/"}
    assert find_credentials(both, folder) == ("http://x/v1", "mine", "OBM_OPERATOR_KEY", "")
    only = {"OBM_API_KEY": "other"}
    assert find_credentials(only, folder)[:3] == (STORED["api_url"], "other", "OBM_API_KEY")


def test_a_shell_on_the_machine_of_the_engine_needs_no_exports(folder: Path) -> None:
    found = find_credentials({}, folder)
    assert (found.url, found.key) == (STORED["api_url"], "stored")
    assert found.key_from == str(folder / CREDENTIALS)


def test_without_a_key_the_error_names_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"set OBM_OPERATOR_KEY and OBM_API_URL"):
        find_credentials({}, tmp_path)
    assert find_credentials({"OBM_OPERATOR_KEY": "k"}, tmp_path).url == DEFAULT_URL
    with pytest.raises(ConfigError, match="http://"):
        find_credentials({"OBM_OPERATOR_KEY": "k", "OBM_API_URL": "file:///etc"}, tmp_path)


def test_an_unreachable_api_is_named_with_what_to_do() -> None:
    text = problem_of("http://127.0.0.1:9/v1")
    assert "http://127.0.0.1:9/v1 does not respond" in text
    assert "OBM_API_URL" in text


def test_a_refused_key_is_named_by_its_origin() -> None:
    refusal = {"name": "restricted_api_key", "detail": "Use the key of an operator."}
    with responding(403, json.dumps(refusal).encode()) as url:
        assert problem_of(url, "data/sandbox.json").endswith(
            "Use the key of an operator. The key is that of data/sandbox.json."
        )


def test_other_refusals_have_the_words_of_the_api() -> None:
    with responding(409, json.dumps({"name": "account_in_use", "detail": "In use."}).encode()) as u:
        assert problem_of(u) == "In use."


@pytest.mark.parametrize(
    ("status", "body"), [(200, b"<html>"), (502, b"bad gateway"), (200, b"[]")]
)
def test_another_server_is_not_taken_for_the_api(status: int, body: bytes) -> None:
    with responding(status, body) as url:
        assert f"{url} is not the API of an engine" in problem_of(url)


def test_a_certificate_that_cannot_be_read_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="OBM_CERTIFICATE"):
        Api(Credentials("https://x/v1", "k", "", str(tmp_path / "missing.pem")))
