"""The words of access: projects, actions and algorithms, as settings and tokens name them. Pure."""

from __future__ import annotations

import re
from typing import Final

ACTIONS: Final = ("list", "watch", "submit", "cancel", "publish", "delete", "admin")
EVERYTHING: Final = "*"
"""All projects, or all actions."""
PROJECT: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
"""The name of a project."""
ISSUER: Final = "testcast"
AUDIENCE: Final = "testcast"
PUBLIC_KEY_ALGORITHMS: Final = ("EdDSA", "ES256", "RS256")
SECRET_ALGORITHM: Final = "HS256"
"""Whoever can check such a token can make one: edges and issuer share a secret."""
