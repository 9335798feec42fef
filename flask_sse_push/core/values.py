"""What callers and strangers give: taken as what it is, and shown so that it does no harm."""

from __future__ import annotations

__all__ = ["number_of", "printable", "shown", "text_of"]


def text_of(value: object) -> str | None:
    """
    Return the characters of a ``str``, or of an instance of a subclass, as a ``str`` itself; ``None`` for anything else.

    A subclass may override each method with one that lies, also differently each time, and any object may say that it is a ``str`` by its
    ``__class__``. What was checked is what is sent only if no method of theirs is asked.
    """
    kind = type(value)
    if kind is str:
        return value  # type: ignore[return-value]
    return str.__str__(value) if issubclass(kind, str) else None


def number_of(value: object) -> int | None:
    """Return the number of an ``int``, or of an instance of a subclass other than ``bool``, as an ``int`` itself; ``None`` for anything else."""
    kind = type(value)
    if kind is int:
        return value  # type: ignore[return-value]
    return int.__index__(value) if issubclass(kind, int) and kind is not bool else None  # type: ignore[arg-type]


def shown(value: object, most: int = 160) -> str:
    """
    Return a value for a message: its ``repr``, shortened, and printable whatever class it is of.

    Args:
        value (object): Anything at all. A ``str`` or an ``int`` is shown as what it is, and not as its class would have it.
        most (int): Characters.
    """
    text = text_of(value)
    number = number_of(value)
    try:
        said = repr(text) if text is not None else repr(number) if number is not None else text_of(repr(value))
    except Exception:  # noqa: BLE001  # a class of the caller's, and the message about its value must come all the same
        said = None
    said = printable(said) if said is not None else "a value that cannot be shown"
    return said if len(said) <= most else said[: most - 3] + "..."


def printable(text: str) -> str:
    """
    Return a text of somebody else's so that a terminal only shows it: controls (also C1), separators of lines and marks that turn the direction
    are escaped as Python writes them.
    """
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
