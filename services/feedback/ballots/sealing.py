"""Sealed ballots (ADR 0004): what a respondent said, readable only when the round is closed, and then only together.

The API seals to the round's public key and can open nothing. The worker holds the ballot secret that unwraps the
round's private key, and uses it once. Everything here is pure: bytes in, bytes out, randomness from libsodium.
"""

import hashlib
import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from nacl.bindings import crypto_box_SEALBYTES, sodium_pad, sodium_unpad
from nacl.public import PrivateKey, PublicKey, SealedBox
from nacl.secret import Aead

from shared.events import Group

# Holds all questions of the instrument with room to spare. Every sealed ballot has the same size, so that size tells
# neither how much somebody answered nor in which group.
BALLOT_BYTES = 2048
SEALED_BYTES = BALLOT_BYTES + crypto_box_SEALBYTES

# In these groups an answer is one person's by design, and the form says so; in all others it is nobody's.
ATTRIBUTABLE = frozenset({Group.self, Group.manager})


@dataclass(frozen=True, slots=True)
class Ballot:
    """One respondent's answers by question id: a rating, or None for "cannot judge". It names nobody."""

    group: Group
    answers: Mapping[str, int | None]


@dataclass(frozen=True, slots=True)
class RoundKeys:
    """A round's key pair; `wrapped` is the private key under the ballot secret, bound to the round's id."""

    public: bytes
    wrapped: bytes


class BallotTooLargeError(ValueError):
    """A ballot does not fit the fixed size; the instrument has outgrown BALLOT_BYTES."""


def new_keys(round_id: UUID, secret: bytes) -> RoundKeys:
    """A fresh key pair for one round."""
    private = PrivateKey.generate()
    wrapped = Aead(_wrapping_key(secret)).encrypt(bytes(private), aad=round_id.bytes)
    return RoundKeys(bytes(private.public_key), bytes(wrapped))


def seal(public_key: bytes, ballot: Ballot) -> bytes:
    """The ballot as SEALED_BYTES bytes that only the round's private key opens. Raises BallotTooLargeError."""
    content = json.dumps({"group": ballot.group, "answers": dict(ballot.answers)}, separators=(",", ":")).encode()
    if len(content) >= BALLOT_BYTES:  # the padding itself needs one byte
        raise BallotTooLargeError(f"{len(content)} bytes, at most {BALLOT_BYTES - 1}")
    return SealedBox(PublicKey(public_key)).encrypt(sodium_pad(content, BALLOT_BYTES))


def open_all(round_id: UUID, wrapped_key: bytes, secret: bytes, sealed: Iterable[bytes]) -> list[Ballot]:
    """All ballots of a round in an order of chance, so that the order they came in is forgotten.

    Raises nacl.exceptions.CryptoError when the secret, the key or a ballot is not the one it was.
    """
    private = PrivateKey(Aead(_wrapping_key(secret)).decrypt(wrapped_key, aad=round_id.bytes))
    box = SealedBox(private)
    ballots = [_ballot(sodium_unpad(box.decrypt(one), BALLOT_BYTES)) for one in sealed]
    secrets.SystemRandom().shuffle(ballots)
    return ballots


def _ballot(content: bytes) -> Ballot:
    read = json.loads(content)
    return Ballot(Group(read["group"]), read["answers"])


def _wrapping_key(secret: bytes) -> bytes:
    return hashlib.blake2b(secret, digest_size=Aead.KEY_SIZE, person=b"medled-ballots").digest()
