"""Packed payloads: gzip and deflate, undone within a bound."""

from __future__ import annotations

import zlib

from tidegauge.errors import InvalidInputError, TooLargeError

IDENTITY = "identity"
_WINDOW_BITS = {"gzip": 31, "deflate": 15}
ENCODINGS = (IDENTITY, *_WINDOW_BITS)

_GZIP = b"\x1f\x8b\x08"
_MOST_UNPACKED = 64 << 20  # bytes of one logged payload: a small one can unfold to gigabytes


def unpack(body: bytes, encoding: str, limit: int) -> bytes:
    """Undo a content encoding; TooLargeError before there are more than ``limit`` bytes of it."""
    if encoding == IDENTITY:
        return body
    unpacker = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        unpacked = unpacker.decompress(body, limit + 1)
    except zlib.error as error:
        raise InvalidInputError.of("body", f"The body is not valid {encoding}: {error}.") from None
    if len(unpacked) > limit:
        raise too_large(limit)
    if not unpacker.eof:
        raise InvalidInputError.of("body", f"The body is not valid {encoding}: it ends too early.")
    if unpacker.unused_data:  # another member, maybe, whose events would be lost
        raise InvalidInputError.of("body", f"The body is not valid {encoding}: more follows its end.")
    return unpacked


def unpacked(data: bytes) -> bytes:
    """Return a logged payload unpacked, up to 64 MiB, if it begins as gzip or deflate (zlib) does.

    Only the bytes tell: loggers pack what they have read unpacked, and the other way round, and label both
    alike. No JSON, no picture and no binary tensors begin so. Raises as ``unpack`` does.

    >>> unpacked(zlib.compress(b"[1]")), unpacked(b"[1]")
    (b'[1]', b'[1]')
    """
    if data.startswith(_GZIP):
        return unpack(data, "gzip", _MOST_UNPACKED)
    # RFC 1950: method 8 with a window of 32 KiB, and a check that makes the two bytes divide by 31.
    if data[:1] == b"\x78" and int.from_bytes(data[:2]) % 31 == 0:
        return unpack(data, "deflate", _MOST_UNPACKED)
    return data


def too_large(limit: int) -> TooLargeError:
    """Return the error for a body past ``limit`` bytes."""
    return TooLargeError.of(
        "body", f"The body is larger than {limit} bytes, the limit; send smaller batches."
    )
