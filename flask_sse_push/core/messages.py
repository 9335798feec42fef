"""What is checked and encoded before an event is published, by an app or without one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..errors import InvalidEvent
from .channels import MAX_CHANNELS_PER_EVENT, check_channels
from .event import check_retry, check_type
from .values import shown, text_of
from .wire import encode_fields

__all__ = ["MAX_KEY_BYTES", "prepare", "to_json"]

MAX_KEY_BYTES = 200
"""A key names an event; it does not carry one."""


def prepare(
    data: Any,
    type: str | None,
    id: object,
    retry: int | None,
    channel: str | Iterable[str],
    idempotency_key: str | None,
    dumps: Callable[[Any], str],
    max_event_bytes: int,
) -> tuple[str, tuple[str, ...], bytes, str | None]:
    """
    Check and encode an event; see :meth:`SSEPush.publish` for the arguments.

    Returns:
        tuple: What goes into ``data``, the channels, each once, the encoded event without its ``id:`` line,
            and the key. They are ``str`` and ``bytes`` themselves, whatever subclasses the arguments were of.

    Raises:
        InvalidEvent: The event cannot be sent as it is.
        InvalidChannel: A name is not one.
    """
    if id is not None:
        raise InvalidEvent(
            f'"id" is given by the bus, because browsers resume by it, got {shown(id)}. '
            'Leave it out, and put an id of your own into "data"; publish() returns the one that was given.'
        )
    key = None if idempotency_key is None else _check_key(idempotency_key)
    channels = check_channels(channel, MAX_CHANNELS_PER_EVENT)
    text = text_of(data)
    if text is None:
        text = to_json(data, dumps)
    if type is not None or retry is not None:
        type, retry = check_type(type), check_retry(retry)
    block = encode_fields(text, type, None, retry)
    if len(block) > max_event_bytes:
        raise InvalidEvent(
            f'"data" makes an event of {len(block):,} bytes, SSE_PUSH_MAX_EVENT_BYTES allows {max_event_bytes:,}. '
            "Publish where to fetch it instead, or raise the limit."
        )
    return text, channels, block, key


def to_json(value: Any, dumps: Callable[[Any], str]) -> str:
    """
    Encode a value as JSON.

    Raises:
        InvalidEvent: It cannot be encoded, or a browser could not parse the result.
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


def _check_key(key: object) -> str:
    text = text_of(key)
    if not text or not text.isprintable() or len(text.encode("utf-8", "replace")) > MAX_KEY_BYTES:
        raise InvalidEvent(
            f'"idempotency_key" must be 1 to {MAX_KEY_BYTES} bytes of printable text, got {shown(key, 80)}. '
            "Use what names the event where it comes from, such as the id of its row."
        )
    return text
