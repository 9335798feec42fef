"""Values from callers and strangers: read without asking their class, and shown so that they do no harm."""

from __future__ import annotations

__all__ = ["number_of", "printable", "shown", "text_of"]


def text_of(value: object) -> str | None:
    """
    Return the characters of a ``str``, or of an instance of a subclass, as a plain ``str``.

    A subclass may override any method with one that lies, differently each time, and any object may claim by
    its ``__class__`` to be a ``str``. This function calls no method of the value, so what a caller checks is
    what it sends.

    Returns:
        str | None: ``None`` for a value of any other class.
    """
    kind = type(value)
    if kind is str:
        return value  # type: ignore[return-value]
    return str.__str__(value) if issubclass(kind, str) else None


def number_of(value: object) -> int | None:
    """
    Return the number of an ``int``, or of an instance of a subclass, as a plain ``int``; see :func:`text_of`.

    Returns:
        int | None: ``None`` for a ``bool``, and for a value of any other class.
    """
    kind = type(value)
    if kind is int:
        return value  # type: ignore[return-value]
    if issubclass(kind, int) and kind is not bool:
        return int.__index__(value)  # type: ignore[arg-type]
    return None


def shown(value: object, most: int = 160) -> str:
    """
    Return the ``repr`` of any value for a message, shortened and printable.

    Args:
        value (object): A text or a number is shown by its characters or digits, not by its class.
        most (int): Characters.
    """
    text, number = text_of(value), number_of(value)
    honest = text if text is not None else number if number is not None else value
    try:
        said = text_of(repr(honest))
    except Exception:  # noqa: BLE001  # the class is the caller's, and the caller needs the message
        said = None
    said = printable(said) if said is not None else "a value that cannot be shown"
    return said if len(said) <= most else said[: most - 3] + "..."


def printable(text: str) -> str:
    """
    Return a text of somebody else's so that a terminal shows it and does not obey it.

    Control characters (also C1), line separators and direction marks are escaped as Python writes them.
    """
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
