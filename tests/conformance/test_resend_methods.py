"""The working methods of the official `resend` packages are those listed in docs/api.md, and each
is called against a running engine."""

import inspect
import json
import os
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import resend

from kernel import clock
from services.events.domain.signature import SECRET_BYTES, secret_text, signature_headers
from tests.support.npm import node
from tests.support.rest_api import ID, call_api

FOLDER = Path(__file__).parent
PAGE = FOLDER.parents[1] / "docs" / "api.md"
SECRET = bytes(range(SECRET_BYTES))
NAMES = ("id", "name", "email_id", "contact_id", "webhook_id", "audience_id", "ids")


class AnyParameters(dict[str, str]):
    """Parameters with any key."""

    def __missing__(self, name: str) -> str:
        return ID


class RequestRecorder:
    """Replaces the package's HTTP client; records the request."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def request(self, method: str, url: str, *_: object, **__: object) -> Any:  # noqa: ANN401
        self.seen.append((method.lower(), urlsplit(url).path))
        return b"{}", 200, {"content-type": "application/json"}


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> RequestRecorder:
    recording = RequestRecorder()
    monkeypatch.setattr(resend, "default_http_client", recording)
    monkeypatch.setattr(resend, "api_key", "re_1")
    monkeypatch.setattr(resend, "api_url", "http://x/v1")
    return recording


def methods(owner: Any, name: str) -> Iterator[tuple[str, Callable[..., object]]]:  # noqa: ANN401
    for attribute, value in vars(owner).items():
        called = isinstance(value, classmethod | staticmethod)
        if called and not attribute.startswith("_") and not attribute.endswith("_async"):
            yield f"{name}.{attribute}", getattr(owner, attribute)


def call(method: Callable[..., object]) -> None:
    """Call a method with a value for each required parameter."""
    given = {
        name: AnyParameters.fromkeys(NAMES, ID) if name == "params" else ID
        for name, parameter in inspect.signature(method).parameters.items()
        if parameter.default is inspect.Parameter.empty
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        method(**given)


def is_routed(document: Any, method: str, path: str) -> bool:  # noqa: ANN401 - JSON
    """True if a route of the API matches. An id must be a UUID: `/emails/metrics` is not an
    email."""
    for template, operations in document["paths"].items():
        pattern = re.sub(r"\{\w+_id\}", ID, template)
        if method in operations and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", pattern), path):
            return True
    return False


def documented_methods() -> set[str]:
    """The methods in the table, by class."""
    [table] = re.findall(r"(?m)^\| class \|.*\n\| --- .*\n((?:\|.*\n)+)", PAGE.read_text())
    rows = (row.split("|")[1:3] for row in table.splitlines())
    return {f"{owner.strip()}.{one}" for owner, some in rows for one in re.findall(r"\w+", some)}


def test_the_working_methods_are_those_of_the_table(recorder: RequestRecorder) -> None:
    document = call_api("GET", "/openapi.json").json()
    work = set()
    for title, kind in vars(resend).items():
        if not inspect.isclass(kind) or "exceptions" in kind.__module__:
            continue
        for name, method in methods(kind, title):
            recorder.seen.clear()
            try:
                call(method)
            except (KeyError, ValueError, AttributeError, TypeError):
                assert not recorder.seen, name  # it requires other services
            if recorder.seen and all(is_routed(document, *one) for one in recorder.seen):
                work.add(name)
    assert work == documented_methods()


NODE_NAMES = {
    "Webhooks.list_events": "webhooks.events.list",
    "Webhooks.get_event": "webhooks.events.get",
    "Webhooks.replay_event": "webhooks.events.replay",
    "Webhooks.list_event_attempts": "webhooks.events.attempts.list",
    "Webhooks.rotate_signing_secret": "webhooks.rotateSigningSecret",
}


def of_node(name: str) -> str:
    """The method of the table as the package of npm spells it."""
    if name in NODE_NAMES:
        return NODE_NAMES[name]
    owner, _, method = name.partition(".")
    nested = {"SuppressionsBatch": "suppressions.batch"}
    return f"{nested.get(owner, owner[0].lower() + owner[1:])}.{method}"


def test_the_working_methods_of_node_are_the_same() -> None:
    ran = node(FOLDER / "resend_methods.mjs", env={**os.environ, "ID": ID})
    assert ran.returncode == 0, ran.stderr
    document = call_api("GET", "/openapi.json").json()
    work = {
        name
        for name, requests in json.loads(ran.stdout).items()
        if requests and all(is_routed(document, *one) for one in requests)
    }
    assert work - {"emails.create", "batch.create"} == set(map(of_node, documented_methods()))


def test_each_working_method_is_called_against_an_engine() -> None:
    python = (FOLDER / "test_resend_python.py").read_text()
    scripts = "".join(one.read_text() for one in FOLDER.glob("resend*.mjs"))
    for name in documented_methods():
        assert f"resend.{name}(" in python
        assert f"resend.{of_node(name)}(" in scripts


def test_the_client_verifies_our_webhook_signatures() -> None:
    body = b'{"type":"email.delivered"}'
    signed = signature_headers([SECRET], "evt_1", timestamp=clock.now_ms() // 1000, body=body)
    given = {name: signed[f"webhook-{name}"] for name in ("id", "timestamp", "signature")}
    parameters: Any = {"payload": body.decode(), "headers": given}
    good: Any = {**parameters, "webhook_secret": secret_text(SECRET)}
    bad: Any = {**parameters, "webhook_secret": secret_text(SECRET[::-1])}

    resend.Webhooks.verify(good)
    with pytest.raises(ValueError, match="signature"):
        resend.Webhooks.verify(bad)
