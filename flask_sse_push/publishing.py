"""What is checked and encoded before an event is published, by an app or without one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from .core.channels import MAX_CHANNELS_PER_EVENT, check_channels
from .core.event import check_retry, check_type, encode_fields
from .errors import InvalidEvent

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
) -> tuple[str, tuple[str, ...], bytes]:
    """
    Check and encode an event; see :meth:`SSEPush.publish` for the arguments.

    Returns:
        tuple: What goes into ``data``, the channels, each once, and the encoded event without its ``id:`` line.

    Raises:
        InvalidEvent: The event cannot be sent as it is.
        InvalidChannel: A name is not one.
    """
    if id is not None:
        raise InvalidEvent(
            f'"id" is given by the bus, because browsers resume by it, got {id!r}. Leave it out, and put an id of your own into "data"; '
            "publish() returns the one that was given."
        )
    if idempotency_key is not None:
        _check_key(idempotency_key)
    channels = check_channels(channel, MAX_CHANNELS_PER_EVENT)
    if not isinstance(data, str):
        data = to_json(data, dumps)
    if type is not None or retry is not None:
        check_type(type)
        check_retry(retry)
    block = encode_fields(data, type, None, retry)
    if len(block) > max_event_bytes:
        raise InvalidEvent(
            f'"data" makes an event of {len(block):,} bytes, SSE_PUSH_MAX_EVENT_BYTES allows {max_event_bytes:,}. '
            "Publish where to fetch it instead, or raise the limit."
        )
    return data, channels, block


def to_json(value: Any, dumps: Callable[[Any], str]) -> str:
    """
    Encode a value as JSON.

    Raises:
        InvalidEvent: It cannot be encoded, or a browser could not parse the result.
    """
    try:
        return dumps(value)
    except (TypeError, ValueError, RecursionError) as error:
        shown = repr(value) if not isinstance(error, RecursionError) else f"a {value.__class__.__name__} within itself"
        shown = shown if len(shown) <= 200 else shown[:197] + "..."
        raise InvalidEvent(f'"data" must be a str or something that can be encoded as JSON, got {shown} ({error}). Convert it first.') from error


def _check_key(key: object) -> None:
    if not isinstance(key, str) or not key or not key.isprintable() or len(key.encode("utf-8", "replace")) > MAX_KEY_BYTES:
        shown = repr(key)
        raise InvalidEvent(
            f'"idempotency_key" must be 1 to {MAX_KEY_BYTES} bytes of printable text, got {shown if len(shown) <= 80 else shown[:77] + "..."}. '
            "Use what names the event where it comes from, such as the id of its row."
        )
