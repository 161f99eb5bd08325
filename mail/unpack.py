"""Files of reports: gzip (RFC 1952), ZIP with deflate (as RFC 7489 §7.2.1.1 allows), or plain.

They come from strangers: what unpacks to more than a limit is refused after so many octets.
"""

import struct
import zlib

OCTETS_MAX = 10 << 20  # unpacked
_GZIP, _ZIP = b"\x1f\x8b", b"PK\x03\x04"
_GZIP_BITS = 31  # zlib's sign for a gzip header
_LOCAL = struct.Struct("<5H3L2H")  # of a file in an archive, after its signature
_ENCRYPTED = 1  # a flag
_STORED, _DEFLATED = 0, 8  # methods


class UnpackError(ValueError):
    """The file cannot be read; the message says why."""


def unpack(data: bytes, *, octets_max: int = OCTETS_MAX) -> bytes:
    """The content of a file, of the first one in an archive. Raises UnpackError."""
    try:
        found = _unpack(data, octets_max + 1)
    except (zlib.error, struct.error) as error:
        raise UnpackError(f"the file is damaged: {error}") from None
    if len(found) > octets_max:
        raise UnpackError(f"the file is larger than {octets_max} octets")
    return found


def _unpack(data: bytes, limit: int) -> bytes:
    if data.startswith(_GZIP):
        return zlib.decompressobj(_GZIP_BITS).decompress(data, limit)
    if data.startswith(_ZIP):
        return _first_file(data, limit)
    return data


def _first_file(data: bytes, limit: int) -> bytes:
    """By its local header (APPNOTE.TXT §4.3.7), without the directory at the end of the archive."""
    at = 0
    while data.startswith(_ZIP, at):
        header = _LOCAL.unpack_from(data, at + len(_ZIP))
        _, flags, method, _, _, _, packed, unpacked, name_size, extra_size = header
        name_at = at + len(_ZIP) + _LOCAL.size
        begin = name_at + name_size + extra_size
        if not data[name_at : name_at + name_size].endswith(b"/"):
            if flags & _ENCRYPTED:
                raise UnpackError("it is encrypted")
            return _file(data[begin:], method, limit=limit, size=unpacked)
        at = begin + packed
    raise UnpackError("the archive has no file")


def _file(data: bytes, method: int, *, limit: int, size: int) -> bytes:
    if method == _DEFLATED:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, limit)
    if method == _STORED:
        return data[: min(size, limit)]
    raise UnpackError("it is packed by another method than deflate")
