"""Payloads: small ones travel compressed inside the ledger's item."""

import json
import zlib

INLINE_BYTES_MAX = 2560
"""Compressed bytes that may lie in the ledger: an item of 3 KB is 3 write units a replica."""
ENDPOINT_BYTES_MAX = 128_000
"""What InvokeEndpointAsync takes inline (its API reference)."""


def pack(body: bytes) -> bytes | None:
    """Compress JSON for the ledger; None if it is too large for it."""
    if len(body) > ENDPOINT_BYTES_MAX:
        return None
    packed = zlib.compress(body, level=6)
    return packed if len(packed) <= INLINE_BYTES_MAX else None


def unpack(packed: bytes) -> bytes:
    """The JSON that `pack` compressed."""
    return zlib.decompress(packed)


def is_json(body: bytes) -> bool:
    """Whether these bytes are one JSON document."""
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return False
    return True
