"""Listening sockets, as the kernel lists them."""

from __future__ import annotations

import pytest

from circuit_harness.operations.ports import Listening, parse_listening


@pytest.mark.parametrize(
    ("text", "listening"),
    [
        ("0100007F:0CEA", "127.0.0.1:3306"),
        ("00000000:1F90", "0.0.0.0:8080"),
        ("00000000000000000000000000000000:1F90", "[::]:8080"),
        ("00000000000000000000000001000000:0050", "[::1]:80"),
        ("0000000000000000FFFF00000100007F:0050", "127.0.0.1:80"),
    ],
)
def test_parse(text: str, listening: str) -> None:
    assert str(parse_listening(text)) == listening


def test_fields() -> None:
    assert parse_listening("0B02D50A:0CEA") == Listening("10.213.2.11", 3306)
