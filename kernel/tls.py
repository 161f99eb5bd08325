"""TLS of servers: certificates from files, which are read again when they change."""

import asyncio
import logging
import os
import ssl
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias
from weakref import WeakKeyDictionary

from kernel.bounded_dict import BoundedDict
from kernel.errors import ConfigError

CHECK_INTERVAL_S = 5.0
HANDSHAKE_S = 20.0  # timeout for the handshake of a client
CLOSE_S = 5.0  # timeout for its end of TLS; until then all it sends is decrypted
FOUND_MAX = 1_000  # contexts of found pairs that a listener keeps, of some 30 KB each

Stamp: TypeAlias = tuple[tuple[int, int, int], ...]

logger = logging.getLogger(__name__)


class CertificateFiles(NamedTuple):
    """A certificate chain and its private key, in PEM files."""

    certificate: Path
    key: Path


class PemPair(NamedTuple):
    """The contents of such files."""

    key: bytes
    certificate: bytes


FindPair: TypeAlias = Callable[[str], PemPair | None]


class Certificates:
    """The certificates of a server: one for each host name that a client can name (SNI, RFC 6066),
    and one for all other clients.

    Contexts from `context` and `pem_pairs` serve the newest pair of files that fit together.
    """

    def __init__(
        self,
        default: CertificateFiles,
        by_host: Mapping[str, CertificateFiles] | None = None,
        *,
        find: FindPair = lambda _: None,
    ) -> None:
        """by_host: by lower-case name. find: the pair of another host, now; it is called in
        handshakes, so from memory. Raises ConfigError if files are missing, or do not fit
        together."""
        self._find = find
        self._files = {"": default, **(by_host or {})}
        self._listeners: list[_Listener] = []
        self._pairs: dict[str, PemPair] = {}
        self._stamps: dict[str, Stamp] = {}
        for host, files in self._files.items():
            try:
                self._stamps[host] = self._load(host)
            except (OSError, ValueError) as error:
                raise ConfigError(
                    f"Cannot use the certificate {files.certificate} with the key {files.key}: "
                    f"{error}."
                ) from error
        self.pem_pairs = self._all_pairs()

    def context(
        self, minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2, *, alpn: Sequence[str] = ()
    ) -> ssl.SSLContext:
        """A context for a listener."""
        listener = _Listener(minimum, alpn, find=self._find)
        for host, files in self._files.items():
            listener.contexts[host] = listener.new_context(files)
        self._listeners.append(listener)
        context = listener.new_context(self._files[""])
        context.sni_callback = listener.select
        return context

    async def watch(self) -> None:
        """A loop: read the files again when they have changed."""
        while True:
            await asyncio.sleep(CHECK_INTERVAL_S)
            self.reload()

    def reload(self) -> None:
        """Read the files again that have changed. A pair that does not fit together, such as one
        that is being replaced, is read again later."""
        for host, files in self._files.items():
            if stamp_of(files) == self._stamps[host]:
                continue
            try:
                self._stamps[host] = self._load(host)
            except (OSError, ValueError) as error:
                extra = {"file": str(files.certificate), "error": str(error)}
                logger.warning("tls.certificate_unusable", extra=extra)
                continue
            self.pem_pairs = self._all_pairs()
            logger.info("tls.certificate_read", extra={"file": str(files.certificate)})

    def _load(self, host: str) -> Stamp:
        """Raises OSError or ValueError."""
        files = self._files[host]
        stamp = stamp_of(files)
        _new_context(files)  # checks that they fit together
        contexts = [(one, one.new_context(files)) for one in self._listeners]
        pair = PemPair(files.key.read_bytes(), files.certificate.read_bytes())
        if stamp_of(files) != stamp:
            raise ValueError("the files have changed meanwhile")
        self._pairs[host] = pair
        for listener, context in contexts:
            listener.contexts[host] = context
        return stamp

    def _all_pairs(self) -> tuple[PemPair, ...]:
        """Each once, the default first."""
        return tuple(dict.fromkeys(self._pairs.values()))


class _Listener:
    """The contexts of one listener, by host."""

    def __init__(self, minimum: ssl.TLSVersion, alpn: Sequence[str], *, find: FindPair) -> None:
        self._minimum = minimum
        self._alpn = list(alpn)
        self._find = find
        self.contexts: dict[str, ssl.SSLContext] = {}
        # of found pairs, each with its pair
        self._found: BoundedDict[str, tuple[PemPair, ssl.SSLContext]] = BoundedDict(FOUND_MAX)

    def new_context(self, files: CertificateFiles) -> ssl.SSLContext:
        return self._with_options(_new_context(files))

    def _with_options(self, context: ssl.SSLContext) -> ssl.SSLContext:
        context.minimum_version = self._minimum
        if self._alpn:
            context.set_alpn_protocols(self._alpn)
        return context

    def select(self, connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        """Called during each handshake. The version stays that of the listener's first context."""
        host = (name or "").lower()
        context = self.contexts.get(host) or self._find_context(host)
        connection.context = context or self.contexts[""]
        if host:
            _server_names[connection] = host

    def _find_context(self, host: str) -> ssl.SSLContext | None:
        try:
            pair = self._find(host)
            if pair is None:
                return None
            known = self._found.get(host)
            if known is None or known[0] != pair:
                known = pair, self._with_options(_context_of_pair(pair))
            self._found[host] = known
            return known[1]
        except (OSError, ValueError, ConfigError) as error:  # others must not fail with it
            extra = {"host": host, "error": repr(error)}
            logger.error("tls.certificate_unusable", extra=extra)
            return None


_server_names: WeakKeyDictionary[ssl.SSLObject, str] = WeakKeyDictionary()


def server_name(connection: ssl.SSLObject | None) -> str:
    """The host that the client of a connection has named, in lower case; empty without one."""
    return _server_names.get(connection, "") if connection is not None else ""


def _new_context(files: CertificateFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    return context


def _context_of_pair(pair: PemPair) -> ssl.SSLContext:
    """OpenSSL's API in Python reads files only. Raises OSError or ValueError."""
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("certificate"), "wb") as memory:
            memory.write(pair.key + pair.certificate)
            memory.flush()
            path = Path(f"/proc/self/fd/{memory.fileno()}")
            return _new_context(CertificateFiles(path, path))
    with tempfile.NamedTemporaryFile() as file:  # which only its owner can read
        file.write(pair.key + pair.certificate)
        file.flush()
        return _new_context(CertificateFiles(Path(file.name), Path(file.name)))


def stamp_of(files: CertificateFiles) -> Stamp:
    return tuple(_stamp_of_file(path) for path in files)


def _stamp_of_file(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return found.st_mtime_ns, found.st_ino, found.st_size
