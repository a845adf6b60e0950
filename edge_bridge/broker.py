"""Gateways' sign-in at an MQTT broker: a password file in Mosquitto's format, made from the gateways' own secrets.

The portal keeps a salted hash only; it is made at enrolment, the one moment the secret is here.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import tempfile
from pathlib import Path

from devices.choices import CredentialState, DeviceState
from devices.models import Device
from edge_bridge.models import GatewayState

_ROUNDS = 101
_SALT = 12


def broker_hash(secret: str, salt: bytes | None = None) -> str:
    """``$7$rounds$salt$hash``: PBKDF2-HMAC-SHA512, as mosquitto_passwd writes it. The secret is random, so few rounds do."""
    salt = secrets.token_bytes(_SALT) if salt is None else salt
    made = hashlib.pbkdf2_hmac("sha512", secret.encode(), salt, _ROUNDS)
    return f"$7${_ROUNDS}${base64.b64encode(salt).decode()}${base64.b64encode(made).decode()}"


def broker_login_set(device: Device, secret: str) -> None:
    GatewayState.objects.update_or_create(device=device, defaults={"broker_hash": broker_hash(secret)})


def password_lines(extra: dict[str, str] | None = None) -> list[str]:
    """One line per gateway that may sign in now, and the fixed accounts (name -> password) of ``extra``, by a stable salt each."""
    rows = (
        GatewayState.objects.filter(device__state=DeviceState.ACTIVE, device__credentials__state=CredentialState.ACTIVE)
        .exclude(broker_hash="")
        .values_list("device_id", "broker_hash")
        .distinct()
    )
    lines = [f"{pk}:{line}" for pk, line in rows]
    for name, password in (extra or {}).items():
        salt = hashlib.sha256(f"{name}:{password}".encode()).digest()[:_SALT]
        lines.append(f"{name}:{broker_hash(password, salt)}")
    return sorted(lines)


def password_file_write(path: Path, extra: dict[str, str] | None = None) -> bool:
    """Write the file when it would change; True when it did. Atomic, mode 600."""
    text = "".join(f"{line}\n" for line in password_lines(extra))
    if path.exists() and path.read_text(encoding="ascii") == text:
        return False
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(text)
    Path(temporary).replace(path)
    return True
