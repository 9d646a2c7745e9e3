"""Who a visitor of a class is: a random name that the browser keeps in a signed cookie.

The name survives a reload and opens the same runs in another tab. It is public: what nobody can guess is its signature,
which is made with a secret of this server.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from pathlib import Path

import streamlit as st

from pdc_core.runs import runs_root
from ui.components import component

COOKIE = "pdc_visitor"
_NAME, _KEPT = "class_visitor", "class_visitor_kept"
_SIGNED = re.compile(r"([0-9a-f]{16})\.([0-9a-f]{64})")
_cookie = component("cookie")


def class_root() -> Path:
    """Return the folder that holds a folder for each visitor of the class, below that of all runs."""
    return runs_root() / "class"


def visitor() -> str:
    """Return the name of this session's visitor: of the browser's cookie, or a new one."""
    name: str | None = st.session_state.get(_NAME)
    if name is None:
        name = named_by(given_cookie()) or secrets.token_hex(8)
        st.session_state[_NAME] = name
    return name


def given_cookie() -> str:
    """Return the cookie that the browser sent when it opened this session, "" for none."""
    return st.context.cookies.get(COOKIE, "")


def keep_visitor() -> None:
    """Let the browser keep who the visitor is; nothing is sent where it does already."""
    if not st.session_state.get(_KEPT):
        _cookie(key="visitor_cookie", data={"name": COOKIE, "value": signed(visitor())}, height="content")
        st.session_state[_KEPT] = named_by(given_cookie()) == visitor()


def signed(name: str) -> str:
    """Return a name with its signature, as a cookie holds it."""
    return f"{name}.{hmac.new(_secret(), name.encode(), hashlib.sha256).hexdigest()}"


def named_by(cookie: str) -> str | None:
    """Return the name in a cookie; None where this server did not sign it."""
    found = _SIGNED.fullmatch(cookie)
    return found[1] if found and hmac.compare_digest(signed(found[1]), cookie) else None


def _secret() -> bytes:
    """Return the secret of the class, made once, which only this server's user can read."""
    file = class_root() / ".secret"
    try:
        return file.read_bytes()
    except FileNotFoundError:
        pass
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_name(f".secret.{secrets.token_hex(4)}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
        opened.write(secrets.token_bytes(32))
    try:
        os.link(fresh, file)  # of two servers that start at once, the first one's stays
    except FileExistsError:
        pass
    finally:
        fresh.unlink()
    return file.read_bytes()
