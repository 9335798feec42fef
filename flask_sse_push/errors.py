"""
The errors of this package, named for who can mend them.

    SSEPushError
    ├── InvalidEvent        (ValueError)    the caller: data, type, id or retry
    ├── InvalidChannel      (ValueError)    the caller: the name of a channel, or their number
    ├── ConfigurationError  (RuntimeError)  the developer: a setting, or how the blueprint is used
    │   ├── NotRegistered                   the blueprint is on no app, or on several
    │   └── UnsupportedServer               the server cannot stream, or not with these settings
    ├── ChannelClosed       (RuntimeError)  the caller: the channel was closed, and takes no event
    ├── TooManyKept         (RuntimeError)  the caller: a channel, or the bus, keeps as many values as it may
    ├── BusUnavailable      (RuntimeError)  the world: the bus could not take the event
    └── InvalidStream       (ValueError)    the server: bytes that are no event stream

A message names the field, shows the value and ends with the cure.
"""

from __future__ import annotations

__all__ = [
    "BusUnavailable",
    "ChannelClosed",
    "ConfigurationError",
    "InvalidChannel",
    "InvalidEvent",
    "InvalidStream",
    "NotRegistered",
    "SSEPushError",
    "TooManyKept",
    "UnsupportedServer",
]


class SSEPushError(Exception):
    """The base of all errors of this package."""


class InvalidEvent(SSEPushError, ValueError):
    """The event cannot be sent as it is. Nothing was stored, and no client got it."""


class InvalidChannel(SSEPushError, ValueError):
    """The name of a channel, or the number of channels, is not allowed."""


class ConfigurationError(SSEPushError, RuntimeError):
    """A setting is wrong, or the blueprint is used in a way that cannot work."""


class NotRegistered(ConfigurationError):
    """Nobody can tell which app is meant: the blueprint is on none, or on several."""


class UnsupportedServer(ConfigurationError):
    """The server that runs the app cannot serve event streams as it is set up."""


class BusUnavailable(SSEPushError, RuntimeError):
    """The bus did not take the event. It was not stored, unless the message says so."""


class ChannelClosed(SSEPushError, RuntimeError):
    """The channel was closed. Nothing was stored."""


class TooManyKept(SSEPushError, RuntimeError):
    """There are as many kept values as there may be. Nothing was stored."""


class InvalidStream(SSEPushError, ValueError):
    """A browser would not read these bytes as their sender meant them."""
