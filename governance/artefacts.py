"""Model files by their SHA-256, and the portal's signing key. Content-addressed: a file once written never changes."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from django.conf import settings

from portal.core.errors import DomainError

KEY_ID = "portal-1"


def path_of(sha256: str) -> Path:
    return Path(settings.ARTEFACT_DIR) / sha256[:2] / sha256


def store(data: bytes) -> str:
    """Keep a file; returns its SHA-256. Writing is atomic, so a reader sees the whole file or none."""
    sha256 = hashlib.sha256(data).hexdigest()
    path = path_of(sha256)
    if path.exists():
        return sha256
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise DomainError("storage", f"The model file cannot be stored: {error.strerror}.", status=507) from error
    return sha256


def load(sha256: str) -> bytes:
    """The file's bytes, checked against its name; DomainError when it is gone or damaged."""
    try:
        data = path_of(sha256).read_bytes()
    except OSError as error:
        raise DomainError("artefact_missing", "The model file is not in the store.") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise DomainError("artefact_damaged", "The model file in the store is damaged.")
    return data


def signing_key() -> bytes:
    """The raw Ed25519 private key (32 bytes); made once (file mode 600) where none was given from outside."""
    path = Path(settings.SIGNING_KEY_FILE)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(pem)
    key = load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise DomainError("signing_key", "The signing key is not an Ed25519 key.")
    return key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())


def public_keys() -> dict[str, bytes]:
    """The raw public keys (32 bytes) by key id, that gateways pin."""
    key = Ed25519PrivateKey.from_private_bytes(signing_key())
    return {KEY_ID: key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)}
