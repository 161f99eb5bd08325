"""TLS for PostgreSQL: the one of the wheel is built without."""

import select
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from kernel.tls import CertificateFiles

SSL_REQUEST = struct.pack("!ii", 8, 80877103)  # of the protocol's message flow, "SSLRequest"


@contextmanager
def postgres_with_tls(port: int, files: CertificateFiles) -> Iterator[int]:
    """A port of loopback that answers a client's request for TLS as PostgreSQL does, refuses other
    clients, and passes all that follows to the server on `port`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with suppress(OSError):  # closed at the end
                while True:
                    client, _ = listener.accept()
                    threading.Thread(target=serve, args=(client,), daemon=True).start()

        def serve(client: socket.socket) -> None:
            with client, suppress(OSError):
                if client.recv(len(SSL_REQUEST), socket.MSG_WAITALL) != SSL_REQUEST:
                    return
                client.sendall(b"S")
                with (
                    context.wrap_socket(client, server_side=True) as encrypted,
                    socket.create_connection(("127.0.0.1", port)) as server,
                ):
                    relay(encrypted, server)

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def relay(client: ssl.SSLSocket, server: socket.socket) -> None:
    """Both directions in one thread, as an SSLSocket needs, until one side closes."""
    targets: dict[socket.socket, socket.socket] = {client: server, server: client}
    while True:
        ready = [client] if client.pending() else select.select(list(targets), [], [])[0]
        for source in ready:
            octets = source.recv(65536)
            if not octets:
                return
            targets[source].sendall(octets)
