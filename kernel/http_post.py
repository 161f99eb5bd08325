"""One HTTP/1.1 POST over a connection of its own, for the few requests that are not webhooks."""

from collections.abc import Mapping

from kernel.dial import Dialer, parse_url_target
from kernel.http_connection import HttpConnection


async def post(dialer: Dialer, url: str, body: bytes, *, fields: Mapping[str, str]) -> None:
    """fields: of the header. Raises OSError, or ValueError unless the response is 2xx."""
    target = parse_url_target(url)
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    start = f"POST {target.path} HTTP/1.1\r\nHost: {target.authority}\r\n"
    head = f"{start}{lines}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    connection = await dialer.connect(target, HttpConnection)
    try:
        response = await connection.send(head.encode() + body)
    finally:
        connection.close()
    if not 200 <= response.status < 300:
        raise ValueError(f"HTTP {response.status}")
