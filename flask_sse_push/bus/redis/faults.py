"""What can go wrong with a Redis: which exceptions mean that, and what a person can do about each."""

from __future__ import annotations

import redis
from redis.exceptions import AskError, AuthorizationError, ReadOnlyError

__all__ = ["FAULTS", "WRONG_SERVER", "cure_of", "is_refusal", "message_of"]

FAULTS = (redis.RedisError, OSError, ValueError)
"""What a connection raises when the server cannot be used. ``ValueError``: a host name that is none."""

WRONG_SERVER = (ReadOnlyError, AskError)
"""The faults of a server that did nothing because another one takes the events. ``MovedError`` is one."""

_RIGHTS = (
    "Let its user run EVAL, EVALSHA, HELLO, INFO, TIME, UNLINK, PEXPIRE and the commands of lists, hashes, "
    "sorted sets and pub/sub, on the keys and channels with the prefix, like ~{sse_push}:* &{sse_push}:*."
)
_LOGIN = "Put the password into SSE_PUSH_BUS_URL."
_VERSION = "Redis 6.2 or newer is needed, or Valkey."

# By the name of an exception, or a part of what it says. The first that is found counts.
_CURES = (
    ("OutOfMemoryError", "Give it more memory, or set maxmemory-policy to one that frees some."),
    ("ReadOnlyError", "It is a replica: name the master, or ask Sentinels for it (redis+sentinel://)."),
    ("MovedError", "It is a node of a Cluster: begin the URL with redis+cluster://."),
    ("BusyLoadingError", "It has just started; try again in a moment."),
    ("NoPermissionError", _RIGHTS),
    ("uthentication required", _LOGIN),
    ("unauthenticated", _LOGIN),
    ("user executing the script", _RIGHTS),
    ("username", "Correct the user or password in SSE_PUSH_BUS_URL."),
    ("MISCONF", "It cannot write to its disk; see its log."),
    ("NOREPLICAS", "It has too few replicas; see min-replicas-to-write."),
    ("WRONGTYPE", "Another program uses these keys: choose another prefix, like ?prefix=shop."),
    ("max number of clients", "Raise its maxclients, or see who holds so many connections."),
    ("unknown command", _VERSION),
    ("syntax error", _VERSION),
)


def is_refusal(error: BaseException) -> bool:
    """Say whether the server answered with an error: then nothing was done."""
    # redis-py calls some of these answers broken connections.
    answers = redis.ResponseError | redis.AuthenticationError | redis.BusyLoadingError | AuthorizationError
    return isinstance(error, answers) or "max number of clients" in str(error)


def message_of(error: Exception) -> str:
    """Return what an error says, without a period, and the script and line that Redis 7 adds behind it."""
    return str(error).partition(" script: ")[0].rstrip(".")


def cure_of(error: Exception) -> str:
    """Return what to do about an error: a sentence with a space in front, or nothing."""
    text = f"{type(error).__name__}: {error}"
    return next((f" {cure}" for mark, cure in _CURES if mark in text), "")
