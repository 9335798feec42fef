"""A message: an event without its id, checked before a bus takes it and again when a store gives it back."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, NamedTuple

from ..errors import InvalidEvent
from .channels import CONTROL_CHANNEL, MAX_CHANNELS_PER_EVENT, check_channels, one_channel
from .event import MAX_RETRY_MILLISECONDS, check_retry, check_type
from .values import shown, text_of
from .wire import encode_fields

__all__ = [
    "MAX_KEY_BYTES",
    "Message",
    "check_block",
    "check_key",
    "check_stored",
    "closing",
    "forgetting",
    "prepare",
    "scope_of",
    "to_json",
]

MAX_KEY_BYTES = 200
"""A key names an event; it does not carry one."""

_type = type  # an argument of prepare() has this name

_MAX_RETRY_DIGITS = len(str(MAX_RETRY_MILLISECONDS))

_MAX_REMEMBERED_BYTES = 256  # of an event's channels: a thousand names each would be a gigabyte


class Message(NamedTuple):
    """What a bus numbers and stores. Everything in it was checked."""

    channels: tuple[str, ...]
    """Names, each once."""
    block: bytes
    """The encoded event without its ``id:`` line, blank line included; empty where nothing is sent."""
    key: str | None = None
    """
    Each channel keeps the newest event with this key, beyond its history. With an empty block the value of
    the key is forgotten.
    """
    closes: bool = False
    """Whether the channels are closed behind this event; without a block, behind what they have."""
    once: str | None = None
    """
    An idempotency key, made of the caller's and of the channels (:func:`scope_of`): while an event with the
    same one is kept, nothing is stored.
    """


def prepare(
    data: Any,
    type: str | None,
    id: object,
    retry: int | None,
    channel: str | Iterable[str],
    idempotency_key: str | None,
    dumps: Callable[[Any], str],
    max_event_bytes: int,
    key: str | None = None,
    keep: bool = False,
    close: bool = False,
) -> tuple[str, Message]:
    """
    Check and encode what ``publish`` was called with; see :meth:`SSEPush.publish` for the arguments.

    Returns:
        tuple: The text of ``data``, and the message. All in it are plain ``str`` and ``bytes``, even when an
            argument was of a subclass.

    Raises:
        InvalidEvent: The event cannot be sent as it is.
        InvalidChannel: A channel's name is not allowed.
    """
    if id is not None:
        raise InvalidEvent(
            f'"id" is given by the bus, because browsers resume by it, got {shown(id)}. '
            'Leave it out, and put an id of your own into "data"; publish() returns the id of the event.'
        )
    is_one = _type(channel) is str
    channels = one_channel(channel) if is_one else check_channels(channel, MAX_CHANNELS_PER_EVENT)  # type: ignore[arg-type]
    text = data if _type(data) is str else text_of(data)
    if text is None:
        text = to_json(data, dumps)
    if type is not None or retry is not None:
        type, retry = check_type(type), check_retry(retry)
    block = encode_fields(text, type, None, retry)
    if len(block) > max_event_bytes:
        raise InvalidEvent(
            f'"data" makes an event of {len(block):,} bytes, '
            f"SSE_PUSH_MAX_EVENT_BYTES allows {max_event_bytes:,}. "
            "Publish where to fetch it instead, or raise the limit."
        )
    if key is None and idempotency_key is None and keep is False and close is False:  # nearly always
        return text, Message(channels, block)
    for name, value in (("keep", keep), ("close", close)):
        # Not by its truth: a text "false" of a form or a configuration would close a channel for good.
        if value is not True and value is not False:
            raise InvalidEvent(
                f'"{name}" must be True or False, got {shown(value, 80)}. Leave it out for False.'
            )
    if (key is None) is keep:
        raise InvalidEvent(
            f'"key" and "keep" belong together, got key={shown(key, 80)} and keep={keep}. '
            'Give both, such as key="AAPL", keep=True, or neither.'
        )
    checked = None if key is None else check_key(key)
    once = (
        None if idempotency_key is None else scope_of(channels, check_key(idempotency_key, "idempotency_key"))
    )
    return text, Message(channels, block, checked, close, once)


def closing(channels: Iterable[str]) -> Message:
    """
    Return the message that closes channels behind what they have.

    Raises:
        InvalidChannel: There is no name, or one is not allowed.
    """
    return Message(check_channels(channels, MAX_CHANNELS_PER_EVENT), b"", None, closes=True)


def forgetting(channel: str | Iterable[str], key: object) -> Message:
    """
    Return the message that forgets the value of a key.

    Raises:
        InvalidChannel: A channel's name is not allowed.
        InvalidEvent: The key is not 1 to 200 bytes of printable text.
    """
    return Message(check_channels(channel, MAX_CHANNELS_PER_EVENT), b"", check_key(key))


def scope_of(channels: tuple[str, ...], idempotency_key: str) -> str:
    """
    Return what an idempotency key counts as: it names an event of a set of channels, and no other.

    Returns:
        str: At most 330 bytes of printable text; other channels, or another key, give another one.
    """
    if len(channels) == 1:
        return f"{channels[0]} {idempotency_key}"  # no name holds a space
    names = hashlib.blake2b("\n".join(sorted(channels)).encode(), digest_size=16).hexdigest()
    return f"  {names} {idempotency_key}"


def to_json(value: Any, dumps: Callable[[Any], str]) -> str:
    """
    Encode a value as JSON.

    Raises:
        InvalidEvent: The value cannot be encoded, or a browser could not parse the result.
    """
    try:
        text = text_of(dumps(value))
    except (TypeError, ValueError, RecursionError) as error:
        is_endless = isinstance(error, RecursionError)
        said = f"a {type(value).__name__} within itself" if is_endless else shown(value, 200)
        raise InvalidEvent(
            f'"data" must be a str or something that can be encoded as JSON, got {said} ({error}). '
            "Convert it first."
        ) from error
    if text is None:
        raise InvalidEvent(
            f'"data" must be encoded as JSON in a str, the encoder gave something else for {shown(value)}. '
            "Let it return a str."
        )
    return text


def check_key(key: object, field: str = "key") -> str:
    """
    Return a key as a plain ``str``.

    Args:
        key (object): What the caller gave.
        field (str): How the caller names it.

    Raises:
        InvalidEvent: It is not 1 to 200 bytes of printable text.
    """
    text = text_of(key)
    if not text or not text.isprintable() or len(text.encode("utf-8", "replace")) > MAX_KEY_BYTES:
        cures = {
            "key": "Use what names the value in its channel, such as the id of its row.",
            "idempotency_key": "Use what names the event where it comes from, such as the id of its row.",
        }
        raise InvalidEvent(
            f'"{field}" must be 1 to {MAX_KEY_BYTES} bytes of printable text, got {shown(key, 80)}. '
            f"{cures[field]}"
        )
    return text


def check_stored(channels: object, block: object, max_bytes: int) -> tuple[str, ...]:
    r"""
    Return the channels of a stored message, if it is one that :func:`prepare` could have made.

    Whoever can write to a store can put anything there, and browsers get the block as it is. A blank line in
    it would begin a second event, an ``id:`` line would move the reader's place, ``retry: 0`` would make
    every browser hammer the server, and browsers would take the type ``sse.reset`` for a signal of this
    package.

    Args:
        channels (object): The names, joined by ``"\n"``, as ``str`` or as UTF-8.
        block (object): The bytes of the event without its ``id:`` line, blank line included; or no bytes at
            all, where nothing is sent.
        max_bytes (int): The most bytes that the block may have.

    Returns:
        tuple[str, ...]: The names, each once.

    Raises:
        ValueError: It is no such message. The error says what is wrong, without the event's data.
    """
    if type(block) is not bytes:
        raise InvalidEvent(f"its block is {type(block).__name__}")
    if len(block) > max_bytes:
        raise InvalidEvent(f"its block has {len(block)} bytes, and SSE_PUSH_MAX_EVENT_BYTES is {max_bytes}")
    if block:
        check_block(block)
    if type(channels) is not bytes and type(channels) is not str:
        raise InvalidEvent(f"its channels are {type(channels).__name__}")
    return _names_in(channels) if len(channels) <= _MAX_REMEMBERED_BYTES else _split(channels)


def _split(channels: str | bytes) -> tuple[str, ...]:
    text = channels.decode() if isinstance(channels, bytes) else channels
    if text == CONTROL_CHANNEL:
        return (CONTROL_CHANNEL,)
    return check_channels(text.split("\n") if "\n" in text else text, MAX_CHANNELS_PER_EVENT)


# The channels in use are checked once, and all their events share the names. Errors are not remembered.
_names_in = lru_cache(maxsize=8192)(_split)


def check_block(block: bytes) -> None:
    """
    Refuse all but this: perhaps a type, perhaps a retry, one or more lines of data, a blank line.

    Raises:
        ValueError: It is something else; the error says what is wrong, without the event's data.
    """
    begin = 0
    if block.startswith(b"event: "):
        end = block.find(b"\n")
        check_type(block[7:end].decode())
        begin = end + 1
    if block.startswith(b"retry: ", begin):
        end = block.find(b"\n", begin)
        digits = block[begin + 7 : end]
        if not digits.isdigit() or len(digits) > _MAX_RETRY_DIGITS:
            raise InvalidEvent("its retry is no number")
        check_retry(int(digits))
        begin = end + 1
    # One line feed ends the last line and one the blank line. Each other one must begin a line of data.
    if (
        not block.startswith(b"data: ", begin)
        or not block.endswith(b"\n\n")
        or block.count(b"\n", begin) != block.count(b"\ndata: ", begin) + 2
        or b"\r" in block
    ):
        raise InvalidEvent("its block is not the lines of one event")
    if not block.isascii():
        block.decode()  # strictly: a browser would show U+FFFD
