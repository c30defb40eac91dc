"""circuit.wire.address: what parses, what does not, and that the two directions agree."""

from __future__ import annotations

import contextlib
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuit import Address, AddressError, parse_address

EXAMPLE = "circuit://10.0.0.7:11022/4276/Q54d9ba8870177645"

addresses = st.builds(
    Address,
    host=st.one_of(
        st.ip_addresses(v=4).map(str),
        st.ip_addresses(v=6).map(str),
        st.from_regex(r"[a-z][a-z0-9-]{0,20}(\.[a-z0-9]{1,10}){0,3}", fullmatch=True),
    ),
    port=st.integers(1, 65535),
    pid=st.integers(0, 4_194_304),
    worker=st.integers(0, (1 << 63) - 1).map(lambda number: f"Q{number:016x}"),
)


def test_an_address_has_host_port_pid_and_worker() -> None:
    assert parse_address(EXAMPLE) == Address("10.0.0.7", 11022, 4276, "Q54d9ba8870177645")


def test_white_space_around_an_address_is_ignored() -> None:
    assert parse_address(f" {EXAMPLE}\n") == parse_address(EXAMPLE)


def test_brackets_belong_to_the_text_of_an_ipv6_address_only() -> None:
    address = parse_address("circuit://[fd00::7]:11022/4276/Q54d9ba8870177645")
    assert address.host == "fd00::7"
    assert str(address) == "circuit://[fd00::7]:11022/4276/Q54d9ba8870177645"


@given(addresses)
def test_an_address_survives_its_text(address: Address) -> None:
    parsed = parse_address(str(address))
    assert (parsed.port, parsed.pid, parsed.worker) == (address.port, address.pid, address.worker)
    if ":" in address.host:
        assert ipaddress.ip_address(parsed.host) == ipaddress.ip_address(address.host)
    else:
        assert parsed.host == address.host


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "does not start with circuit://"),
        ("10.0.0.7:11022", "does not start with circuit://"),
        ("http://10.0.0.7:11022/4276/Q54d9ba8870177645", "does not start with circuit://"),
        ("circuit://:11022/4276/Q54d9ba8870177645", "names no host"),
        ("circuit://10.0.0.7/4276/Q54d9ba8870177645", "names no port"),
        ("circuit://10.0.0.7:0/4276/Q54d9ba8870177645", "names no port"),
        ("circuit://10.0.0.7:65536/4276/Q54d9ba8870177645", "ort"),
        ("circuit://10.0.0.7:x/4276/Q54d9ba8870177645", "ort"),
        ("circuit://[fd00::7:11022/4276/Q54d9ba8870177645", "IPv6"),
        ("circuit://10.0.0.7:11022", "PID and WORKERID must follow"),
        ("circuit://10.0.0.7:11022/4276", "PID and WORKERID must follow"),
        ("circuit://10.0.0.7:11022//Q54d9ba8870177645", "PID and WORKERID must follow"),
        ("circuit://10.0.0.7:11022/-1/Q54d9ba8870177645", "PID and WORKERID must follow"),
        ("circuit://10.0.0.7:11022/\u0664/Q54d9ba8870177645", "PID and WORKERID must follow"),
        ("circuit://10.0.0.7:11022/" + "9" * 5000 + "/Q54d9ba8870177645", "PID and WORKERID must follow"),
        ("circuit://10.0.0.7:11022/4276/Q54d9ba8870177645/x", "PID and WORKERID must follow"),
        ("circuit://10.0.0.7:11022/4276/54d9ba8870177645", "is not Q and 16 hex digits"),
        ("circuit://10.0.0.7:11022/4276/Q54D9BA8870177645", "is not Q and 16 hex digits"),
        ("circuit://10.0.0.7:11022/4276/Q54d9ba887017764", "is not Q and 16 hex digits"),
        (EXAMPLE + "?a=b", "only HOST:PORT/PID/WORKERID"),
        (EXAMPLE + "#a", "only HOST:PORT/PID/WORKERID"),
        ("circuit://me@10.0.0.7:11022/4276/Q54d9ba8870177645", "only HOST:PORT/PID/WORKERID"),
    ],
)
def test_what_is_wrong_is_said_with_an_example(text: str, complaint: str) -> None:
    with pytest.raises(AddressError, match=complaint) as caught:
        parse_address(text)
    assert EXAMPLE in str(caught.value)


@given(st.one_of(st.text(), st.text().map(lambda text: f"circuit://{text}")))
def test_any_text_is_an_address_or_an_address_error(text: str) -> None:
    with contextlib.suppress(AddressError):
        parse_address(text)
