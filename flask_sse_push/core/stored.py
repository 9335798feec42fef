"""What a store gives back for an event: ours, or refused."""

from __future__ import annotations

from ..errors import InvalidEvent
from .channels import MAX_CHANNELS_PER_EVENT, check_channels
from .event import MAX_RETRY_MILLISECONDS, check_retry, check_type

__all__ = ["check_stored"]

_MAX_RETRY_DIGITS = len(str(MAX_RETRY_MILLISECONDS))


def check_stored(channels: object, block: object, max_bytes: int) -> tuple[str, ...]:
    r"""
    Return the channels of a stored event, if it is one that :func:`publishing.prepare` could have made.

    Whoever can write to a store can put anything there. A block goes to browsers as it is, so a blank line in it would begin a
    second event, an ``id:`` line would move the reader's place, ``retry: 0`` would make every browser hammer the server, and the
    type ``sse.reset`` would be taken for a signal of this package.

    Args:
        channels (object): The names, joined by ``"\n"``, as ``str`` or as UTF-8.
        block (object): The bytes of the event without its ``id:`` line, blank line included.
        max_bytes (int): The most bytes that the block may have.

    Returns:
        tuple[str, ...]: The names, each once.

    Raises:
        ValueError: It is none. The message says what is wrong, without the event's data.
    """
    if isinstance(channels, bytes):
        channels = channels.decode()
    if not isinstance(channels, str):
        raise InvalidEvent(f"its channels are {type(channels).__name__}")
    if type(block) is not bytes:
        raise InvalidEvent(f"its block is {type(block).__name__}")
    if len(block) > max_bytes:
        raise InvalidEvent(f"its block has {len(block)} bytes, and SSE_PUSH_MAX_EVENT_BYTES is {max_bytes}")
    _check_block(block)
    return check_channels(channels.split("\n") if "\n" in channels else channels, MAX_CHANNELS_PER_EVENT)


def _check_block(block: bytes) -> None:
    """Refuse what is not: perhaps a type, perhaps a retry, one or more lines of data, a blank line."""
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
    # Each line but the first begins behind a line feed: two line feeds are left over, the last line's and the blank line's.
    if (
        not block.startswith(b"data: ", begin)
        or not block.endswith(b"\n\n")
        or block.count(b"\n", begin) != block.count(b"\ndata: ", begin) + 2
        or b"\r" in block
    ):
        raise InvalidEvent("its block is not the lines of one event")
    if not block.isascii():
        block.decode()
