"""What names a Redis: which URLs and clients are taken, and what is said of others. No server is needed."""

import pytest

from flask_sse_push import ConfigurationError

redis = pytest.importorskip("redis")

from flask_sse_push.bus.redis.targets import find_endpoint  # noqa: E402


@pytest.mark.parametrize(
    ("url", "text", "prefix"),
    [
        ("redis://", None, None),
        ("redis://host", "host:6379", None),
        ("redis://user:word@host:1/3?prefix=shop", "host:1", "shop"),
        ("redis://[::1]:1", "::1:1", None),
        ("rediss://host?ssl_ca_certs=ca.pem", "host:6379", None),
        ("unix:///run/redis.sock?db=3", "/run/redis.sock", None),
        ("redis://host?timeout=3&socket_timeout=1&max_connections=9&decode_responses=1", "host:6379", None),
        ("redis+sentinel://one,two:1/shop/0", "one:26379,two:1/shop", None),
        ("redis+sentinel://:word@one/a%20b?sentinel_password=other", "one:26379/a b", None),
        ("redis+cluster://one,two:1", "one:6379,two:1", None),
        ("rediss+cluster://user:word@one/0?prefix=a.b:c", "one:6379", "a.b:c"),
    ],
)
def test_url_names_an_endpoint(url, text, prefix):
    """A URL gives the address, without the login, and the prefix if it has one."""
    if text is None:
        with pytest.raises(ConfigurationError, match="there is no host in it"):
            find_endpoint(url, None)
        return
    endpoint, found = find_endpoint(url, None)
    assert (endpoint.text, found) == (text, prefix)


def test_prefix_of_the_caller_beats_that_of_the_url():
    """A prefix that is given counts, and is checked as one in a URL is."""
    assert find_endpoint("redis://host?prefix=a", "b")[1] == "b"
    for prefix in ("", "a b", "x" * 65, 7):
        with pytest.raises(ConfigurationError, match='"prefix" must be 1 to 64 letters'):
            find_endpoint("redis://host", prefix)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("redis://host#x", "there is a # in it"),
        ("redis://host/shop", "behind the host comes the number of the database"),
        ("redis://host?nonsense=1", "there is no option nonsense"),
        ("redis://host?a%20b=1", "there is an option that is none"),
        ("redis://host?ssl_nonsense=1", "unexpected keyword argument 'ssl_nonsense'"),
        ("unix://", "the path of the socket is missing"),
        ("memory+sentinel://host", "it begins with none of redis://"),
        ("redis+sentinel://host", "the path is the name of the service"),
        ("redis+sentinel://one,/shop", "hosts are separated by commas"),
        ("redis+cluster://host/3", "a Cluster has no other database than 0"),
        ("redis://host?prefix=a%20b", '"prefix" must be 1 to 64 letters'),
    ],
)
def test_wrong_url_is_told_with_the_reason(url, reason):
    """What is no URL of a Redis is refused with what is wrong about it."""
    with pytest.raises(ConfigurationError) as caught:
        find_endpoint(url, None)
    assert reason in str(caught.value)
    assert 'Write it like "redis://' in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://:SECRET@localhost:port/0",
        "redis://:SECRET@localhost/0?prefix=a%20b",
        "redis+sentinel://:SECRET@localhost",
        "redis+cluster://:SECRET@localhost/3",
        "redis+sentinel://:SECRET@localhost/a/0?x=1",
        "redis://:p/SECRET@host:6379/0",
        "redis://:SECRET#x@host:6379/0",
        "redis://:SE?CRET@host:6379/0",
        "redis://host:port/0?password=SECRET",
        "redis://user:SECRET@host/shop",
        "redis://user:SECRET@host/0?nonsense=1",
        "redis+sentinel://host:26379/?sentinel_password=SECRET",
        "redis+sentinel://host/shop/0?sentinel_password=SECRET&x=1",
        "rediss+cluster://:SECRET@host:1,:2",
        "unix://?password=SECRET",
    ],
)
def test_wrong_url_never_shows_a_password(url):
    """
    No part of a password is in the message, also where it was not encoded and the URL cannot be taken apart.
    """
    with pytest.raises(ConfigurationError) as caught:
        find_endpoint(url, None)
    assert "SECRET" not in str(caught.value)
    assert "CRET@" not in str(caught.value)


def test_client_names_an_endpoint():
    """A client gives its address: of a host, a socket or Sentinels, also with connections of its own."""

    class Connection(redis.SSLConnection):
        pass

    pools = {
        "host:1": redis.ConnectionPool(host="host", port=1, db=3, socket_timeout=9),
        "/run/redis.sock": redis.ConnectionPool(
            connection_class=redis.UnixDomainSocketConnection, path="/run/redis.sock"
        ),
        "tls:6379": redis.ConnectionPool(connection_class=Connection, host="tls", port=6379),
    }
    for text, pool in pools.items():
        endpoint, prefix = find_endpoint(redis.Redis(connection_pool=pool), None)
        assert (endpoint.text, prefix) == (text, None)
    sentinel = redis.Sentinel([("one", 1), ("two", 2)])
    endpoint, prefix = find_endpoint(sentinel.master_for("shop"), "mine")
    assert (endpoint.text, prefix) == ("one:1,two:2/shop", "mine")
    with pytest.raises(ConfigurationError, match="reads from replicas"):
        find_endpoint(sentinel.slave_for("shop"), None)


@pytest.mark.parametrize("client", [None, 7, object(), redis.asyncio.Redis])
def test_client_that_is_none_is_refused(client):
    """Something else than a client of redis-py is refused with its type."""
    with pytest.raises(ConfigurationError, match='"client" must be a redis.Redis or a redis.RedisCluster'):
        find_endpoint(client, None)
