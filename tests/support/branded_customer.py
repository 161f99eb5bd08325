"""A customer of an engine with several brands, who records all names that it sees."""

import re
import time
from typing import Any

import httpx

from tests.support.accounts import keys_of_callers
from tests.support.engine import Engine

SLUGS = ("partner", "reseller")  # of a brand of the file, and of one of the API
# Random texts, such as keys and Message-IDs, contain any letters in their middle.
NAME = r"(?<![a-z0-9+/])(obm|zenith|{})(?![a-z0-9+/])"


class Customer:
    """A customer with a brand, whose client records all that it sees. slug: of the brand."""

    def __init__(self, engine: Engine, slug: str) -> None:
        self.engine = engine
        self.slug, self.domain, self.sandbox = slug, f"{slug}-post.net", f"{slug}-sandbox.net"
        [other] = {*SLUGS} - {slug}
        self._others = re.compile(NAME.format(other), re.IGNORECASE)
        self._host = f"api.{self.domain}"
        self.seen: list[tuple[str, str]] = []
        self._is_starting = True
        self._http = httpx.Client(base_url=engine.url, timeout=60)
        operator = keys_of_callers(engine.environment)["accounts"]
        brand = slug if slug == "partner" else self._make_brand(operator)
        account = self.call("POST", "/accounts", operator, name="One", brand=brand).json()
        made = self.call(
            "POST", "/api-keys", operator, name="One", kind="account", account_id=account["id"]
        )
        self.account_key = made.json()["token"]
        self.key = self.new_key(name="Two", test=True)
        self.live_key = self.new_key(name="Three")
        self._is_starting = False
        assert self.key.startswith(f"{slug}_test_")
        assert self.live_key.startswith(f"{slug}_live_")

    def _make_brand(self, operator: str) -> str:
        """By the API. Returns its id."""
        self._host = "127.0.0.1"
        made = self.call(
            "POST", "/brands", operator, name="Post", slug=self.slug, sandbox_domain=self.sandbox,
            api_hosts=[f"api.{self.domain}"], smtp_host=f"smtp.{self.domain}",
            tracking_host=f"links.{self.domain}", unsubscribe_host=f"leave.{self.domain}",
            bounce_mx=f"mx.{self.domain}", selector_prefix=self.slug,
        )  # fmt: skip
        assert made.status_code == 201, made.text
        self._host = f"api.{self.domain}"
        return str(made.json()["id"])

    def new_key(self, **fields: object) -> str:
        made = self.call("POST", "/api-keys", self.account_key, **fields)
        assert made.status_code == 201, made.text
        return str(made.json()["token"])

    def call(self, method: str, path: str, key: str = "", **fields: Any) -> httpx.Response:  # noqa: ANN401 - JSON
        headers = {"Host": self._host, "Authorization": f"Bearer {key or self.key}"}
        response = self._http.request(method, path, json=fields or None, headers=headers)
        while response.status_code == 503 and self._is_starting:
            time.sleep(0.2)
            response = self._http.request(method, path, json=fields or None, headers=headers)
        self.saw(f"{method} {path}", f"{response.headers}\n{response.text}")
        return response

    def saw(self, where: str, text: str) -> None:
        self.seen.append((where, text))

    def leaks(self) -> list[str]:
        return [
            f"{where}: {text[max(0, found.start() - 60) : found.end() + 40]!r}"
            for where, text in self.seen
            if (found := self._others.search(text))
        ]
