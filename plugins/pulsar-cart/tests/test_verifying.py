"""A stream that is verified: neither another length nor other bytes pass."""

import hashlib
import io

import pytest

from cart.verifying import Mismatch, Verified
from core.errors import Unavailable

pytestmark = pytest.mark.any_database

DATA = bytes(range(256)) * 100


class Slow(io.BytesIO):
    """Gives a thousand bytes at a time, as a connection may."""

    def readinto(self, buffer):
        return super().readinto(memoryview(buffer)[:1000])


def stream(data=DATA):
    return Verified(Slow(data), "md5", hashlib.md5(DATA).hexdigest())


def test_it_is_read_whole_and_verified():
    assert stream().read_exactly(len(DATA)) == DATA
    assert stream().read() == DATA
    with pytest.raises(Mismatch):
        stream(DATA[::-1]).read_exactly(len(DATA))


@pytest.mark.parametrize(("size", "said"), [(len(DATA) - 1, "more"), (0, "more"), (len(DATA) + 1, "less")])
def test_another_length_does_not_pass(size, said):
    with pytest.raises(Unavailable, match=said):
        stream().read_exactly(size)
