"""Which methods of the official `resend` package are answered is what the page of the API says."""

import inspect
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import resend

from kernel import clock
from services.events.domain.signature import SECRET_BYTES, headers, secret_text
from tests.support.rest_api import ID, ask

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
SECRET = bytes(range(SECRET_BYTES))
NAMES = ("id", "name", "email_id", "contact_id", "webhook_id", "audience_id", "ids")


class Anything(dict[str, str]):
    """Parameters with whatever is looked for in them."""

    def __missing__(self, name: str) -> str:
        return ID


class Asked:
    """In place of the package's HTTP client: what it would have asked for."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def request(self, method: str, url: str, *_: object, **__: object) -> Any:  # noqa: ANN401
        self.seen.append((method.lower(), urlsplit(url).path))
        return b"{}", 200, {"content-type": "application/json"}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    recording = Asked()
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
    """With something for all that it has to be given."""
    given = {
        name: Anything.fromkeys(NAMES, ID) if name == "params" else ID
        for name, parameter in inspect.signature(method).parameters.items()
        if parameter.default is inspect.Parameter.empty
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        method(**given)


def answered(document: Any, method: str, path: str) -> bool:  # noqa: ANN401 - JSON
    """By a route of ours. An id is an id: `/emails/metrics` is no email."""
    for template, operations in document["paths"].items():
        pattern = re.sub(r"\{\w+_id\}", ID, template)
        if method in operations and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", pattern), path):
            return True
    return False


def said_to_work() -> set[str]:
    """Of the table: the class, then its methods."""
    [table] = re.findall(r"(?m)^\| class \|.*\n\| --- .*\n((?:\|.*\n)+)", PAGE.read_text())
    rows = (row.split("|")[1:3] for row in table.splitlines())
    return {f"{owner.strip()}.{one}" for owner, some in rows for one in re.findall(r"\w+", some)}


def test_the_methods_that_work_are_those_of_the_table(asked: Asked) -> None:
    document = ask("GET", "/openapi.json").json()
    work = set()
    for title, kind in vars(resend).items():
        if not inspect.isclass(kind) or "exceptions" in kind.__module__:
            continue
        for name, method in methods(kind, title):
            asked.seen.clear()
            try:
                call(method)
            except (KeyError, ValueError, AttributeError, TypeError):
                assert not asked.seen, name  # it wants what only other services have
            if asked.seen and all(answered(document, *one) for one in asked.seen):
                work.add(name)
    assert work == said_to_work()


def test_its_check_of_webhooks_takes_our_signatures() -> None:
    body = b'{"type":"email.delivered"}'
    signed = headers(SECRET, "evt_1", timestamp=clock.now_ms() // 1000, body=body)
    given = {name: signed[f"webhook-{name}"] for name in ("id", "timestamp", "signature")}
    told: Any = {"payload": body.decode(), "headers": given}
    good: Any = {**told, "webhook_secret": secret_text(SECRET)}
    bad: Any = {**told, "webhook_secret": secret_text(SECRET[::-1])}

    resend.Webhooks.verify(good)
    with pytest.raises(ValueError, match="signature"):
        resend.Webhooks.verify(bad)
