from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import pytest

from tidegauge.domain.packing import unpack
from tidegauge.errors import InvalidInputError, TooLargeError

PACK: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}


@pytest.mark.parametrize("encoding", PACK)
def test_what_is_packed_comes_back_whole_or_not_at_all(encoding: str) -> None:
    whole = PACK[encoding](b"an event" * 100)
    assert unpack(whole, encoding, 1000) == b"an event" * 100
    for cut in range(len(whole)):
        with pytest.raises(InvalidInputError, match="ends too early"):
            unpack(whole[:cut], encoding, 1000)
    for more in (b"x", whole):
        with pytest.raises(InvalidInputError, match="more follows its end"):
            unpack(whole + more, encoding, 1000)
    with pytest.raises(TooLargeError):
        unpack(whole, encoding, 799)
