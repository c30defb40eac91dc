"""Connecting as an account."""

from __future__ import annotations

import pymysql._auth
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def test_a_password_is_given_to_mysql_without_tls() -> None:
    """By the server's RSA key, for which PyMySQL needs a library that it does not bring."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    salt = b"0123456789abcdefghij"
    given = pymysql._auth.sha2_rsa_encrypt(b"secret", salt, public)
    pad = padding.OAEP(padding.MGF1(SHA1()), SHA1(), None)
    assert bytes(a ^ b for a, b in zip(key.decrypt(given, pad), salt, strict=False)) == b"secret\0"
