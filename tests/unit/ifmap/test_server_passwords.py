"""Hashes of passwords."""

from __future__ import annotations

import hashlib

import pytest

from ifmap.server.passwords import MAX_PASSWORD, PasswordHash, hash_password

CHEAP = 4


def test_a_password_is_known_again() -> None:
    made = hash_password("päss:word", CHEAP)
    read = PasswordHash.parse(made.text)
    assert read == made
    assert read.verify("päss:word")
    assert not read.verify("päss:wort")
    assert not read.verify("")
    assert not read.verify("\ud800")


def test_two_hashes_of_a_password_differ() -> None:
    assert hash_password("a", CHEAP).text != hash_password("a", CHEAP).text


def test_a_hash_of_the_standard() -> None:
    """RFC 7914, section 12: scrypt ("pleaseletmein", "SodiumChloride", N=16384, r=8, p=1)."""
    expected = hashlib.scrypt(b"pleaseletmein", salt=b"SodiumChloride", n=16384, r=8, p=1, dklen=64)
    assert expected.hex().startswith("7023bdcb3afd7348461c06cd81fd38eb")
    text = (
        "$scrypt$ln=14,r=8,p=1$U29kaXVtQ2hsb3JpZGU"
        "$cCO9yzr9c0hGHAbNgf046/2o+7qQT44+qbVD9lRdofLVQylVYT8Pz2LUlwUkKpr55h6F3A1lHkDfzwF7RVdYhw"
    )
    assert PasswordHash.parse(text).verify("pleaseletmein")


def test_it_does_not_show_itself() -> None:
    made = hash_password("secret", CHEAP)
    for shown in (str(made), repr(made)):
        assert made.text.rpartition("$")[2] not in shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hunter2",
        "$2b$12$abcdefghijklmnopqrstuv",
        "$scrypt$ln=30,r=8,p=1$U29kaXVtQ2hsb3JpZGU$U29kaXVtQ2hsb3JpZGU",
        "$scrypt$ln=0,r=8,p=1$U29kaXVtQ2hsb3JpZGU$U29kaXVtQ2hsb3JpZGU",
        "$scrypt$ln=15,r=8,p=1$U29kaXVtQ2hsb3JpZGU$U2",
        "$scrypt$ln=15,r=8,p=1$A$U29kaXVtQ2hsb3JpZGU",
        "$scrypt$ln=15,r=8,p=1$U29kaXVtQ2hsb3JpZGU$" + "A" * 400,
    ],
)
def test_other_texts_are_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match=r"must|too short|base64") as caught:
        PasswordHash.parse(text)
    assert not text or text not in str(caught.value)


@pytest.mark.parametrize("password", ["", "x" * (MAX_PASSWORD + 1)])
def test_lengths_of_passwords(password: str) -> None:
    with pytest.raises(ValueError, match="1 to 1024 bytes"):
        hash_password(password, CHEAP)
