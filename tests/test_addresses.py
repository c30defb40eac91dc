"""Decisions about addresses: from what hosts tell to what is taken, and what is refused."""

from __future__ import annotations

import pytest

from circuit_harness.errors import Unfit
from circuit_harness.operations.addresses import (
    Candidate,
    Facts,
    Given,
    choose,
    circuit_ip,
    known_private,
    parse_facts,
    settle,
    targets,
)
from circuit_harness.remote.address import (
    CIRCUIT,
    METADATA,
    ONLY,
    OPTION,
    PRIVATE,
    ROUTE,
    Addresses,
    canonical,
    refusal,
)

HOME = ("127.0.0.1", "::1")
OWN = Facts(own=(*HOME, "10.0.0.7", "fd00::7", "fe80::7"))
TOLD = Facts(own=OWN.own, private="10.0.0.7", public="192.0.2.7")
NOBODY = Given()


def test_facts_of_a_host() -> None:
    text = (
        "own 127.0.0.1\nown 10.0.0.7\nown 10.0.0.7\nown 10.0.0.11\nown fd00:0000:0000:0000:0000:0000:0000:0007\n"
        "public-ipv4 192.0.2.7 \nipv6 fd00::7\nlocal-ipv4 10.0.0.7\n"
    )
    assert parse_facts(text) == Facts(("10.0.0.7", "10.0.0.11", "127.0.0.1", "fd00::7"), "10.0.0.7", "192.0.2.7")


@pytest.mark.parametrize("answer", ["", "<html> <body>own 10.0.0.9", "10.0.0", "10.0.0.7 10.0.0.8"])
def test_an_answer_that_is_no_address_is_none(answer: str) -> None:
    text = f"own 10.0.0.7\nlocal-ipv4 {answer}\npublic-ipv4 {answer}\nipv6 {answer}\n"
    assert parse_facts(text) == Facts(("10.0.0.7",))


def test_the_address_of_a_host_without_ipv4() -> None:
    assert parse_facts("local-ipv4 \nipv6 2001:db8::7\n").private == "2001:db8::7"


@pytest.mark.parametrize(
    ("text", "ip"),
    [
        ("10.0.0.7", "10.0.0.7"),
        ("FD00:0:0::7", "fd00::7"),
        ("::ffff:10.0.0.7", "10.0.0.7"),
        ("fd00::7%eth0", ""),
        ("010.0.0.7", ""),
        ("[fd00::7]", ""),
        ("host", ""),
        ("", ""),
    ],
)
def test_one_form_of_each_address(text: str, ip: str) -> None:
    assert canonical(text) == ip


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.2", "a loopback address"),
        ("::1", "a loopback address"),
        ("169.254.3.4", "a link-local address"),
        ("fe80::1", "a link-local address"),
        ("224.0.0.1", "a multicast address"),
        ("ff02::1", "a multicast address"),
        ("0.0.0.0", "no address of one host"),
        ("::", "no address of one host"),
        ("10.0.0.7", ""),
        ("fd00::7", ""),
        ("192.0.2.7", ""),
    ],
)
def test_what_no_other_host_reaches(address: str, words: str) -> None:
    assert refusal(address) == words


def test_the_user_wins_then_the_metadata_service() -> None:
    given = Given(private={"X1": "fd00::7"})
    assert known_private("X1", TOLD, given) == Candidate("fd00::7", OPTION)
    assert known_private("X2", TOLD, given) == Candidate("10.0.0.7", METADATA)
    assert known_private("X2", OWN, given) is None


def test_routes_towards_the_other_host() -> None:
    facts = {"X1": OWN, "X2": Facts(own=(*HOME, "10.0.0.8", "10.9.0.8", "fe80::8"))}
    nobody = {"X1": None, "X2": None}
    by_default = ["192.0.2.1", "2001:db8::1"]
    in_circuit = {"X1": "10.0.0.7", "X2": "10.9.0.8"}
    assert targets("X1", facts, nobody, in_circuit) == ["10.9.0.8", "10.0.0.8", *by_default]
    told = {"X1": None, "X2": Candidate("fd00::8", OPTION)}
    assert targets("X1", facts, told, in_circuit) == ["fd00::8", "10.9.0.8", "10.0.0.8", *by_default]
    assert targets("X1", facts, nobody, {"X1": "", "X2": ""}) == ["10.0.0.8", "10.9.0.8", *by_default]
    assert targets("X1", {"X1": OWN}, {"X1": None}, in_circuit) == by_default


def test_an_address_that_both_have_is_no_way_to_the_other() -> None:
    """A bridge's, which each made for itself."""
    bridge = "172.17.0.1"
    facts = {"X1": Facts(own=("10.0.0.7", bridge)), "X2": Facts(own=("10.0.0.8", bridge))}
    assert bridge not in targets("X1", facts, {"X1": None, "X2": None}, {"X1": "", "X2": ""})


def test_the_best_source_is_chosen() -> None:
    sources = {"10.0.0.8": "10.0.0.7", "fd00::8": "fd00::7", "192.0.2.1": "10.0.0.7"}
    assert choose("X1", OWN, sources, "fd00::7") == Candidate("10.0.0.7", ROUTE, "10.0.0.8")
    # Towards an address that is on the same machine, or with one that nobody else reaches.
    odd = {"10.0.0.8": "127.0.0.1", "10.0.0.9": "10.9.9.9", "fd00::8": "fd00::7"}
    assert choose("X1", OWN, odd, "") == Candidate("fd00::7", ROUTE, "fd00::8")
    alone = {"192.0.2.1": "10.0.0.7", "2001:db8::1": "fd00::7"}
    assert choose("X1", OWN, alone, "fd00::7") == Candidate("fd00::7", CIRCUIT)
    assert choose("X1", OWN, alone, "127.0.0.1") == Candidate("10.0.0.7", ROUTE, "192.0.2.1")
    assert choose("X1", Facts(own=(*HOME, "fe80::7", "fd00::7")), {}, "") == Candidate("fd00::7", ONLY)


@pytest.mark.parametrize(
    ("own", "listed"), [(OWN.own, "10.0.0.7, fd00::7"), (HOME, "none that others could reach")], ids=["many", "none"]
)
def test_a_host_that_nothing_tells_the_address_of(own: tuple[str, ...], listed: str) -> None:
    with pytest.raises(Unfit) as refused:
        choose("X1", Facts(own=own), {}, "")
    assert str(refused.value) == (
        f"host X1: neither a metadata service nor a route has its private address; it has {listed}: name it by"
        " --private-address=X1=IP"
    )


@pytest.mark.parametrize(
    ("private", "words"),
    [
        (Candidate("10.0.0.9", OPTION), "10.0.0.9, by its --private-address, is none of its own; it has 10.0.0.7, fd0"),
        (Candidate("10.0.0.9", METADATA), "10.0.0.9, by its metadata service, is none of its own"),
        (Candidate("::1", METADATA), "::1, by its metadata service, is a loopback address"),
        (Candidate("fe80::7", OPTION), "fe80::7, by its --private-address, is a link-local address"),
        (Candidate("0.0.0.0", METADATA), "0.0.0.0, by its metadata service, is no address of one host"),
    ],
)
def test_a_private_address_that_is_none_of_the_host_s(private: Candidate, words: str) -> None:
    with pytest.raises(Unfit) as refused:
        settle("X1", OWN, private, NOBODY)
    assert str(refused.value).startswith(f"host X1: its private address {words}")
    assert str(refused.value).endswith(": name the right one by --private-address=X1=IP")


@pytest.mark.parametrize(
    ("facts", "given", "public"),
    [
        (TOLD, Given(public={"X1": "203.0.113.5"}), ("203.0.113.5", OPTION)),
        (TOLD, Given(public={"X2": "203.0.113.5"}), ("192.0.2.7", METADATA)),
        (OWN, NOBODY, ("10.0.0.7", PRIVATE)),
        (Facts(own=OWN.own, public="0.0.0.0"), NOBODY, ("10.0.0.7", PRIVATE)),
    ],
    ids=["option", "metadata", "none", "nonsense"],
)
def test_the_public_address(facts: Facts, given: Given, public: tuple[str, str]) -> None:
    private = Candidate("10.0.0.7", ROUTE, "10.0.0.8")
    assert settle("X1", facts, private, given) == Addresses("10.0.0.7", ROUTE, *public, "10.0.0.8")


@pytest.mark.parametrize(
    ("address", "ip"),
    [
        ("circuit://10.0.0.7:11022/1/Q0123456789abcdef", "10.0.0.7"),
        ("circuit://[FD00::7]:11022/1/Q0123456789abcdef", "fd00::7"),
        ("circuit://db1.example:11022/1/Q0123456789abcdef", ""),
        ("circuit://:11022/1/Q0123456789abcdef", ""),
    ],
)
def test_the_address_in_a_circuit_address(address: str, ip: str) -> None:
    assert circuit_ip(address) == ip


def test_addresses_in_words() -> None:
    addresses = Addresses("10.0.0.7", ROUTE, "192.0.2.7", METADATA, "10.0.0.8")
    assert str(addresses) == (
        "private address 10.0.0.7 (route towards 10.0.0.8), public address 192.0.2.7 (metadata service)"
    )
    assert Addresses(**addresses.describe()) == addresses
