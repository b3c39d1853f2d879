"""Claims of hosts between workers: any claim comes back as it was, and nothing else is one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import worker_wire
from lib.errors import ProtocolError
from lib.worker_wire import Claim
from tests.support.texts import from_bytes

claims = st.builds(
    Claim,
    st.sampled_from([worker_wire.COME, worker_wire.LEFT]),
    st.binary(min_size=16, max_size=16),
    from_bytes(255),
    st.integers(0, 2**64 - 1),
    st.binary(max_size=16),
)


@given(claims)
def test_a_claim_comes_back(claim: Claim) -> None:
    assert worker_wire.decode(worker_wire.encode(claim)) == claim


@given(st.binary(max_size=64))
def test_any_bytes_are_a_claim_or_none(data: bytes) -> None:
    try:
        claim = worker_wire.decode(data)
    except ProtocolError:
        return
    assert worker_wire.encode(claim) == data


@pytest.mark.parametrize("size", range(27))
def test_a_claim_that_is_cut_off_is_none(size: int) -> None:
    whole = worker_wire.encode(Claim(worker_wire.COME, bytes(16), "", 1, b""))
    with pytest.raises(ProtocolError):
        worker_wire.decode(whole[:size])
