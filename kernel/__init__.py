"""Mechanism that knows nothing about mail."""

import os

# gRPC reads its environment when it is imported, which is after this package.
# It would write lines of its own to the log for each client that does not speak TLS.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
# It has no option for the version of TLS. These are the cipher suites of TLS 1.2; this one needs a
# pre-shared key, so no connection can use it, and 1.3 is left.
if os.environ.get("OBM_TLS_VERSION_MIN", "1.3") == "1.3":
    os.environ.setdefault("GRPC_SSL_CIPHER_SUITES", "ECDHE-PSK-CHACHA20-POLY1305")
