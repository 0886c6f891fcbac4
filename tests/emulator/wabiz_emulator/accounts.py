# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import dataclasses
import datetime
import hashlib
import hmac
import json
import secrets
import string
import time
from collections.abc import Mapping
from typing import Any

ADMIN = "ROLE_ADMIN"
USER = "ROLE_USER"
# Reference, section 1: the built-in account and its first password, which has to be changed.
FIRST_NAME = "admin"
FIRST_PASSWORD = "secret"
PASSWORD_RULES = (string.digits, string.ascii_uppercase, string.ascii_lowercase, string.punctuation)


@dataclasses.dataclass
class User:
    """An account; the password only as a salted digest."""

    role: str
    salt: str
    digest: str
    owes_change: bool = False

    def knows(self, password: str) -> bool:
        return hmac.compare_digest(self.digest, _digest(self.salt, password))


def user(password: str, role: str = ADMIN, owes_change: bool = False) -> User:
    """A new account; `role` is ROLE_ADMIN or ROLE_USER."""
    salt = secrets.token_hex(8)
    return User(role, salt, _digest(salt, password), owes_change)


def password_is_strong(password: str) -> bool:
    """8 to 64 characters, with a digit, an upper and a lower case letter, a special one (reference, section 1)."""
    return 8 <= len(password) <= 64 and all(set(password) & set(alphabet) for alphabet in PASSWORD_RULES)


@dataclasses.dataclass(frozen=True)
class Token:
    """What a token says: user, its own random mark, end of life in seconds since the epoch."""

    user: str
    mark: str
    expires: int


def issue(name: str, key: str, life: float) -> tuple[str, Token]:
    """A signed token (JWT, HS256; reference, section 1) for `life` seconds."""
    now = int(time.time())
    token = Token(name, secrets.token_hex(16), int(now + life))
    claims = {"user": name, "iat": now, "exp": token.expires, "wa:rand": token.mark}
    signed = f"{_encode({'alg': 'HS256', 'typ': 'JWT'})}.{_encode(claims)}"
    return f"{signed}.{_signature(signed, key)}", token


def verify(text: str, key: str) -> Token | None:
    """The token, or None if it is forged, malformed or expired."""
    signed, _dot, signature = text.rpartition(".")
    if not hmac.compare_digest(signature.encode(), _signature(signed, key).encode()):
        return None
    claims: Mapping[str, Any] = json.loads(base64.urlsafe_b64decode(signed.partition(".")[2] + "=="))
    token = Token(claims["user"], claims["wa:rand"], claims["exp"])
    return token if token.expires > time.time() else None


def expires_after(token: Token) -> str:
    """`YYYY-MM-DD HH:MM:SS+00:00` (reference, section 1)."""
    return datetime.datetime.fromtimestamp(token.expires, datetime.timezone.utc).isoformat(sep=" ")


def _digest(salt: str, password: str) -> str:
    return hashlib.sha256(f"{salt}:{password}".encode()).hexdigest()


def _encode(part: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part, separators=(",", ":")).encode()).rstrip(b"=").decode()


def _signature(signed: str, key: str) -> str:
    digest = hmac.new(key.encode(), signed.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
