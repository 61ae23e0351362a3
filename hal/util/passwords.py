"""Takes passwords out of texts that are shown or stored."""

from __future__ import annotations

import re

__all__ = ["without_password"]

_BEFORE_AT = re.compile(r"(\w://[^\s/:\[]*):.*@", re.DOTALL)
_WITHOUT_AT = re.compile(r"(\w://[^\s/:@\[]*):(?!\d*(?:[/?#\s,;)'\"]|$))[^\s/]*")
_IN_QUERY = re.compile(r"(?<=[?&])(?:ssl)?(?:password|passwd|pwd)=[^&]*&?", re.IGNORECASE)


def without_password(text: str) -> str:
    r"""A text without the passwords of the URLs in it.

    A password may hold any character, so all text from the colon to the last ``@`` is taken for one, and in a query all
    text to the next ``&``: rather too much is removed than too little. Apply it to a value before the value becomes
    part of a sentence, because the end of a URL cannot be seen there.

    >>> without_password("storage=postgresql://user:s'e@cr\net@host/name")
    'storage=postgresql://user@host/name'
    >>> without_password("postgresql://host:5432/name?user=me&password=sec ret")
    'postgresql://host:5432/name?user=me'
    """
    if _IN_QUERY.search(text):
        text = re.sub(r"[?&]$", "", _IN_QUERY.sub("", text))
    text = _BEFORE_AT.sub(r"\1@", text)
    return _WITHOUT_AT.sub(r"\1", text)  # of a URL that was cut off before its host
