"""Encryption of bodies under a tenant's key, encryption of secrets at rest, and keyed hashes."""

import hashlib
import hmac
import os
from collections.abc import Sequence
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kernel.errors import ConfigError

NONCE_BYTES = 12
KEY_BYTES = 32


class SealBroken(Exception):
    """The sealed body is damaged, or belongs to another tenant or email."""


def new_content_key() -> bytes:
    """32 random bytes, for AES-256-GCM."""
    return os.urandom(KEY_BYTES)


_cipher = lru_cache(maxsize=1024)(AESGCM)  # creating a cipher costs as much as using it


def seal(key: bytes, body: bytes, associated: bytes) -> bytes:
    """AES-256-GCM (NIST SP 800-38D): nonce, then ciphertext with its tag."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + _cipher(key).encrypt(nonce, body, associated)


def unseal(key: bytes, sealed: bytes, associated: bytes) -> bytes:
    """Raises SealBroken if key or associated data differ: a wrong reference reveals nothing."""
    try:
        return _cipher(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], associated)
    except (InvalidTag, ValueError) as error:
        raise SealBroken from error


def sha256(text: str | bytes) -> bytes:
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).digest()


def keyed_hash(key: bytes, text: str) -> bytes:
    """HMAC-SHA-256: identifies an address only to a holder of the key."""
    return hmac.digest(key, text.encode(), "sha256")


def derived_key(secret: str, purpose: str) -> bytes:
    """A key for one purpose, derived from a key of OBM_SECRET_KEYS; equal in all services.

    Purposes: "return path" (mail.verp), "domain reports" (mail.verp), "tracking" (mail.tracking,
    mail.unsubscribe), "tracking source" (hashes of clients), "feedback id" (digests in
    Feedback-ID), "acme account" (the account at a certificate authority), "directory" (MACs of
    directory records), "host challenge" and "smtp host challenge" (kernel.host_challenge).
    """
    return keyed_hash(secret.encode(), purpose)


class SecretKeyring:
    """Encryption at rest under a rotating set of Fernet keys: the first encrypts, all decrypt.

    Decrypted values are cached, because directory records repeat the same few tokens.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        try:
            fernets = [Fernet(key) for key in keys]
            self._first, self._fernet = fernets[0], MultiFernet(fernets)
        except (ValueError, IndexError) as error:
            raise ConfigError(
                "OBM_SECRET_KEYS must be a comma-separated list of Fernet keys. Generate one with "
                "`obm generate-key`."
            ) from error
        self._opened: dict[bytes, bytes] = {}

    def encrypt(self, secret: bytes) -> bytes:
        return self._fernet.encrypt(secret)

    def reencrypt(self, token: bytes) -> bytes:
        """The secret of a token encrypted with the first key; the same token if it already is.

        Raises ConfigError if none of the keys encrypted it.
        """
        try:
            self._first.decrypt(token)
        except InvalidToken:
            return self.encrypt(self.decrypt(token))
        return token

    def decrypt(self, token: bytes) -> bytes:
        """Raises ConfigError if none of the keys encrypted this token."""
        if (secret := self._opened.get(token)) is None:
            try:
                secret = self._fernet.decrypt(token)
            except InvalidToken as error:
                raise ConfigError(
                    "OBM_SECRET_KEYS lacks the key that encrypted a stored secret. Add that key."
                ) from error
            self._opened[token] = secret
        return secret


def new_secret_key() -> str:
    return Fernet.generate_key().decode()
