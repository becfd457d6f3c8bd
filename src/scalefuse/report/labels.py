"""Names as labels of plots."""

from __future__ import annotations


def plain_label(name: str) -> str:
    r"""A name as matplotlib shows it to the letter.

    A dollar sign would start a formula, and legends leave out what begins with an underscore.

    Example:
        >>> plain_label("a$x^$b"), plain_label("_cyst")
        ('a\\$x^\\$b', ' _cyst')
    """
    escaped = name.replace("$", r"\$")
    return f" {escaped}" if escaped.startswith("_") else escaped
