"""Push events from Flask to browsers: a blueprint and a helper, no async."""

from .core.event import Event
from .errors import (
    BusUnavailable,
    ChannelClosed,
    ConfigurationError,
    InvalidChannel,
    InvalidEvent,
    InvalidStream,
    NotRegistered,
    SSEPushError,
    TooManyKept,
    UnsupportedServer,
)
from .extension.blueprint import SSEPush, publish, sse
from .extension.publisher import Publisher
from .signals import event_published, stream_closed, stream_opened
from .streams.stream import StreamInfo
from .version import __version__

__all__ = [
    "BusUnavailable",
    "ChannelClosed",
    "ConfigurationError",
    "Event",
    "InvalidChannel",
    "InvalidEvent",
    "InvalidStream",
    "NotRegistered",
    "Publisher",
    "SSEPush",
    "SSEPushError",
    "StreamInfo",
    "TooManyKept",
    "UnsupportedServer",
    "__version__",
    "event_published",
    "publish",
    "sse",
    "stream_closed",
    "stream_opened",
]
