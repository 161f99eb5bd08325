"""The HTTP API of the installation, for commands that administer it."""

import json
import os
import ssl
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen
from uuid import UUID

from cli.options import DATA
from kernel.errors import ConfigError

CREDENTIALS = "sandbox.json"  # in the data folder, readable by its owner only
DEFAULT_URL = "http://127.0.0.1:8025/v1"
TIMEOUT_S = 60.0
PART_BYTES = 64 * 1024
KEY_ERRORS = {"missing_api_key", "invalid_api_key", "restricted_api_key"}
WHAT = {
    "accounts": "account", "tenants": "tenant", "domains": "domain", "mailboxes": "mailbox",
    "brands": "brand", "pools": "pool",
}  # fmt: skip


class Refused(ConfigError):
    """The API has refused a request. The text is one line for the user."""

    def __init__(self, text: str, name: str) -> None:
        super().__init__(text)
        self.name = name


class Credentials(NamedTuple):
    """key_from: where the key was found. certificate: file of one to trust beside those of the
    system, as `obm run --tls` makes it."""

    url: str
    key: str
    key_from: str
    certificate: str = ""


class Api:
    """Calls the API with one key. Raises ConfigError."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._tls = tls_context(credentials)

    def get(self, path: str, *, tenant_id: str = "", **query: str) -> dict[str, Any]:
        given = urlencode({name: value for name, value in query.items() if value})
        return self._call("GET", f"{path}?{given}" if given else path, None, tenant_id=tenant_id)

    def post(
        self, path: str, body: Mapping[str, object] | None = None, *, tenant_id: str = ""
    ) -> dict[str, Any]:
        return self._call("POST", path, body, tenant_id=tenant_id)

    def put(self, path: str, body: Mapping[str, object]) -> dict[str, Any]:
        return self._call("PUT", path, body)

    def patch(
        self, path: str, body: Mapping[str, object], *, tenant_id: str = ""
    ) -> dict[str, Any]:
        return self._call("PATCH", path, body, tenant_id=tenant_id)

    def delete(self, path: str, *, tenant_id: str = "") -> dict[str, Any]:
        return self._call("DELETE", path, None, tenant_id=tenant_id)

    def items(self, path: str, *, tenant_id: str = "", **query: str) -> Iterator[dict[str, Any]]:
        """All items of a list, oldest last."""
        after = ""
        while True:
            page = self.get(path, tenant_id=tenant_id, limit="100", after=after, **query)
            yield from page["data"]
            if not page["has_more"]:
                return
            after = page.get("next") or page["data"][-1]["id"]

    def find(self, noun: str, identifier: str) -> dict[str, Any]:
        """The only account, tenant, domain or pool with this id or name, or mailbox with this id or
        address. noun: plural, as in the path."""
        wanted = {"address" if noun == "mailboxes" else "name": identifier}
        found = list(self.items(f"/{noun}", **wanted)) or self._by_id(noun, identifier)
        if len(found) != 1:
            problem = "There is no" if not found else "There is more than one"
            what = WHAT[noun]
            raise ConfigError(
                f"{problem} {what} {identifier!r}. Use its id, see `obm {what} list`."
            )
        return found[0]

    def owner_id(self, tenant: str, *, account_wide: bool) -> str:
        """The id of the tenant; empty for what belongs to an account."""
        if bool(tenant) == account_wide:
            raise ConfigError("Name a tenant by --tenant, or use --account-wide.")
        return "" if account_wide else str(self.find("tenants", tenant)["id"])

    def _by_id(self, noun: str, identifier: str) -> list[dict[str, Any]]:
        try:
            UUID(identifier)
        except ValueError:
            if noun != "brands":  # those of the file have other ids
                return []
        if noun in {"domains", "pools"}:  # a domain is got by tenant, and a pool in the list
            return [one for one in self.items(f"/{noun}") if one["id"] == identifier]
        try:
            return [self.get(f"/{noun}/{quote(identifier, safe='')}")]
        except Refused as refused:
            if refused.name != "not_found":
                raise
            return []

    def _call(
        self, method: str, path: str, body: Mapping[str, object] | None, *, tenant_id: str = ""
    ) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        with self._open(method, path, data, headers=headers, tenant_id=tenant_id) as response:
            return self._decode(response.read())

    def upload(
        self, path: str, content: Iterable[bytes], media_type: str, *, tenant_id: str
    ) -> dict[str, Any]:
        """content: the body in parts."""
        headers = {"Content-Type": media_type, "Transfer-Encoding": "chunked"}
        with self._open("POST", path, content, headers=headers, tenant_id=tenant_id) as response:
            return self._decode(response.read())

    def download(self, path: str, media_type: str, *, tenant_id: str) -> Iterator[bytes]:
        """The body in parts."""
        headers = {"Accept": media_type}
        with self._open("GET", path, None, headers=headers, tenant_id=tenant_id) as response:
            while part := response.read(PART_BYTES):
                yield part

    def lines(self, path: str, *, tenant_id: str) -> Iterator[bytes]:
        """The lines of a stream, as they come."""
        headers = {"Accept": "text/event-stream"}
        with self._open("GET", path, None, headers=headers, tenant_id=tenant_id) as response:
            yield from response

    @contextmanager
    def _open(
        self,
        method: str,
        path: str,
        data: Iterable[bytes] | bytes | None,
        *,
        headers: Mapping[str, str],
        tenant_id: str,
    ) -> Iterator[HTTPResponse]:
        """Raises ConfigError, also for what interrupts reading the response."""
        url, key, *_ = self._credentials
        named = {"X-Tenant-Id": tenant_id} if tenant_id else {}
        given = {"Authorization": f"Bearer {key}", **headers, **named}
        request = Request(url + path, data, given, method=method)  # noqa: S310 - checked
        try:
            with urlopen(request, timeout=TIMEOUT_S, context=self._tls) as response:  # noqa: S310
                yield response
        except HTTPError as error:
            raise self._refusal(self._decode(error.read())) from error
        except (URLError, HTTPException, OSError) as error:
            reason = getattr(error, "reason", error)
            raise ConfigError(
                f"The API at {url} does not respond ({reason}). Start the engine with `obm run`, "
                "or set OBM_API_URL to its address."
            ) from error

    def _decode(self, content: bytes) -> dict[str, Any]:
        try:
            found = json.loads(content)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise ConfigError(
                f"{self._credentials.url} is not the API of an engine. Check OBM_API_URL."
            )
        return found

    def _refusal(self, problem: Mapping[str, Any]) -> Refused:
        name, text = str(problem.get("name")), str(problem.get("detail") or problem)
        if name in KEY_ERRORS:
            text = f"{text} The key is that of {self._credentials.key_from}."
        return Refused(text, name)


def open_api() -> Api:
    """The API and the key of the environment, or else those of the data folder of `obm run`. Raises
    ConfigError."""
    folder = Path(os.environ.get("OBM_DATA", DATA))
    return Api(find_credentials(os.environ, folder))


def find_credentials(environment: Mapping[str, str], folder: Path) -> Credentials:
    """Raises ConfigError."""
    stored = read_credentials(folder)
    url = environment.get("OBM_API_URL") or stored.get("api_url") or DEFAULT_URL
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"OBM_API_URL {url!r} does not begin with http:// or https://.")
    url, certificate = url.rstrip("/"), environment.get("OBM_CERTIFICATE", "")
    for name in ("OBM_OPERATOR_KEY", "OBM_API_KEY"):
        if key := environment.get(name):
            return Credentials(url, key, name, certificate)
    if key := stored.get("operator_key"):
        return Credentials(url, key, str(folder / CREDENTIALS), certificate)
    raise ConfigError(
        f"There is no operator key: no engine has run on the data folder {folder}. Start one with "
        "`obm run`, choose its folder with --data, or set OBM_OPERATOR_KEY and OBM_API_URL."
    )


def tls_context(credentials: Credentials) -> ssl.SSLContext | None:
    """None for plain HTTP. Raises ConfigError."""
    if not credentials.url.startswith("https://"):
        return None
    context = ssl.create_default_context()
    if credentials.certificate:
        try:
            context.load_verify_locations(credentials.certificate)
        except OSError as error:  # ssl.SSLError is one
            raise ConfigError(f"OBM_CERTIFICATE cannot be read: {error}.") from error
    return context


def read_credentials(folder: Path) -> dict[str, str]:
    """What `obm run` has stored: api_url, api_key and operator_key; empty without a first run."""
    path = folder / CREDENTIALS
    return dict(json.loads(path.read_text())) if path.exists() else {}
