"""Pages of other origins."""

import pytest

from flask_sse_push import SSEPush

from .helpers import make_app

THERE = "https://app.example.com"


@pytest.fixture
def client():
    return make_app(cors_origins=[THERE, "http://localhost:5173"]).test_client()


def cors_of(response):
    """Return what is allowed; which headers may be read beside it has a test of its own."""
    allowed = {name: value for name, value in response.headers.items() if name.startswith("Access-Control-")}
    allowed.pop("Access-Control-Expose-Headers", None)
    return allowed


def test_page_of_another_origin_reads_the_heartbeat(client):
    """A client on fetch() finds out by the header that a stream is dead."""
    with client.get("/events", headers={"Origin": THERE}) as response:
        assert response.headers["Access-Control-Expose-Headers"] == "SSE-Push-Heartbeat"
        assert response.headers["SSE-Push-Heartbeat"] == "15000"


@pytest.mark.parametrize("origin", [THERE, "http://localhost:5173"])
def test_configured_origin_may_read(client, origin):
    """A configured origin gets its name back, exactly, and caches are told."""
    with client.get("/events", headers={"Origin": origin}) as response:
        assert response.status_code == 200
        assert cors_of(response) == {"Access-Control-Allow-Origin": origin}
        assert "Origin" in response.headers["Vary"]


def test_credentials_are_allowed_when_configured():
    """Cookies of another origin need a setting of their own."""
    client = make_app(cors_origins=[THERE], cors_credentials=True).test_client()
    with client.get("/events", headers={"Origin": THERE}) as response:
        assert cors_of(response) == {
            "Access-Control-Allow-Origin": THERE,
            "Access-Control-Allow-Credentials": "true",
        }


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://app.example.com.evil.example",
        "https://APP.example.com",
        "https://localhost.evil",
        "app.example.com",
        "x",
        "https://[",
        "https://sub.app.example.com",
        THERE + "/",
    ],
)
def test_foreign_origin_is_refused(client, origin):
    """
    Any other origin is refused for good and gets no permission: its page could not read the stream, which
    would be open all the same.
    """
    response = client.get("/events", headers={"Origin": origin})
    assert response.status_code == 403
    assert "SSE_PUSH_CORS_ORIGINS" in response.json["message"]
    assert cors_of(response) == {}
    assert "Origin" in response.headers["Vary"]


@pytest.mark.parametrize(
    ("headers", "base"),
    [
        ({}, "http://shop.example"),
        ({"Origin": "http://shop.example"}, "http://shop.example"),
        ({"Origin": "https://shop.example"}, "http://shop.example"),
        ({"Origin": "https://SHOP.example"}, "http://shop.example"),
        ({"Origin": "http://shop.example:8000"}, "http://shop.example:8000"),
        ({"Origin": "https://public.example", "Sec-Fetch-Site": "same-origin"}, "http://internal:8000"),
    ],
)
def test_own_origin_is_served(client, headers, base):
    """
    The app's own pages read streams, also where a proxy has changed the scheme, or the host where the browser
    vouches for it.
    """
    with client.get("/events", headers=headers, base_url=base) as response:
        assert response.status_code == 200
        assert cors_of(response) == {}


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://shop.example", "shop.example:443"),
        ("https://shop.example", "shop.example:80"),
        ("http://shop.example", "shop.example:80"),
        ("https://shop.example:443", "shop.example"),
        ("http://shop.example:80", "shop.example"),
        ("https://shop.example", "Shop.Example:443"),
        ("https://[2001:db8::1]", "[2001:DB8::1]:443"),
        ("http://[::1]:8000", "[::1]:8000"),
        ("https://shop.example.", "shop.example.:443"),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_own_origin_is_served_whichever_default_port_a_proxy_writes(client, origin, host, scheme):
    """A browser leaves the default port out of Origin, and some proxies write theirs into Host."""
    environ = {"HTTP_HOST": host, "wsgi.url_scheme": scheme}
    with client.get("/events", headers={"Origin": origin}, environ_overrides=environ) as response:
        assert response.status_code == 200


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://shop.example:8080", "shop.example"),
        ("http://shop.example", "shop.example:8080"),
        ("http://shop.example", "127.0.0.1:8000"),
        ("https://shop.example", "app"),
        ("http://shop.example.", "shop.example"),
        ("http://shop.example:8080", "shop.example:80"),
        ("http://shop.example:80", "shop.example:8080"),
        ("http://:80", ":80"),
    ],
)
def test_own_origin_behind_another_host_is_refused_with_the_cure(client, caplog, origin, host):
    """
    Where a proxy has written another host and the browser says nothing more, the page might be anybody's. The
    log has both values, and what to write into the proxy.
    """
    response = client.get("/events", headers={"Origin": origin}, environ_overrides={"HTTP_HOST": host})
    assert response.status_code == 403
    [record] = caplog.records
    text = record.getMessage()
    assert f"a page of the origin {origin!r} asked the Host {host.removesuffix(':80')!r}. " in text
    assert "proxy_set_header Host $http_host" in text
    assert "ProxyFix(x_host=1)" in text


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {}])
def test_foreign_page_is_no_question_of_a_proxy_where_the_browser_says_so(client, caplog, headers):
    """The cure for a proxy is left out of the log where the browser knows that the page is another site's."""
    headers = {**headers, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "iframe"}
    assert client.get("/events", headers=headers).status_code == 403
    [record] = caplog.records
    assert "proxy" not in record.getMessage()
    assert "SSE_PUSH_CORS_ORIGINS" in record.getMessage()


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none"])
def test_own_origin_is_not_what_the_browser_calls_another(client, site):
    """Only same-origin vouches for a foreign host."""
    assert (
        client.get("/events", headers={"Origin": "https://evil.example", "Sec-Fetch-Site": site}).status_code
        == 403
    )


@pytest.mark.parametrize(
    ("site", "dest", "is_served"),
    [
        ("same-origin", "empty", True),
        ("same-origin", "iframe", True),
        ("none", "document", True),
        ("none", None, True),
        ("none", "empty", True),
        ("none", "iframe", False),
        ("none", "image", False),
        ("cross-site", "document", False),
        ("cross-site", "iframe", False),
        ("cross-site", "image", False),
        ("cross-site", "script", False),
        ("cross-site", "empty", False),
        ("cross-site", None, False),
        ("same-site", "empty", False),
        ("same-site", "iframe", False),
        ("something new", "empty", False),
        ("", "iframe", True),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_request_without_an_origin_is_judged_by_what_the_browser_says_of_it(
    client, site, dest, is_served, method
):
    """
    A browser sends no Origin for what a page embeds, and says all the same whose page it is; an empty header
    says nothing.
    """
    headers = {"Sec-Fetch-Site": site} if dest is None else {"Sec-Fetch-Site": site, "Sec-Fetch-Dest": dest}
    with client.open("/events", method=method, headers=headers) as response:
        assert response.status_code == (200 if is_served else 403)


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_configured_origin_is_served_whatever_site_it_is_of(client, site):
    """A configured origin is one of another site, or a neighbour."""
    with client.get("/events", headers={"Origin": THERE, "Sec-Fetch-Site": site}) as response:
        assert response.status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_own_host_is_foreign_where_the_browser_says_so(client, site):
    """
    A page of the same host with another scheme or port is another origin: the browser knows, and the host
    alone does not tell.
    """
    assert (
        client.get("/events", headers={"Origin": "http://localhost", "Sec-Fetch-Site": site}).status_code
        == 403
    )


@pytest.mark.parametrize(
    "origin",
    ["chrome-extension://localhost", "file://localhost", "ftp://localhost", "//localhost", "localhost"],
)
def test_own_host_under_another_scheme_is_foreign(client, origin):
    """Only pages that came by HTTP can be the app's own."""
    assert client.get("/events", headers={"Origin": origin}).status_code == 403


@pytest.mark.parametrize("origin", ["null", "", "http://", "https://shop.example"])
def test_request_without_a_host_has_no_own_origin(client, origin):
    """An empty Host is nobody's: an Origin without a host does not match it."""
    response = client.get("/events", headers={"Origin": origin}, environ_overrides={"HTTP_HOST": ""})
    assert response.status_code == 403


def test_no_origin_is_configured_by_default():
    """Without a setting other origins are refused, own ones served, and nothing varies."""
    client = make_app().test_client()
    assert client.get("/events", headers={"Origin": THERE}).status_code == 403
    with client.get("/events", headers={"Origin": "http://localhost"}) as response:
        assert response.status_code == 200
        assert "Vary" not in response.headers


def test_answer_without_an_origin_varies_too(client):
    """A cache must not give a page of another origin the answer to a request without one."""
    with client.get("/events") as response:
        assert "Origin" in response.headers["Vary"]
        assert cors_of(response) == {}


def test_refusal_can_be_read_by_a_configured_origin(client):
    """Pages of a configured origin see why they were refused."""
    response = client.get("/events?channel=closed", headers={"Origin": THERE})
    assert response.status_code == 403
    assert cors_of(response) == {"Access-Control-Allow-Origin": THERE}


def preflight(client, path="/events", method="GET", origin=THERE, names="last-event-id", **options):
    """The answer to what a browser asks before a request that a form could not make."""
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": names,
    }
    return client.options(path, headers={name: value for name, value in headers.items() if value}, **options)


@pytest.mark.parametrize("path", ["/events", "/events/"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_preflight_of_a_configured_origin_is_granted(client, path, method):
    """A preflight names what may be sent, is remembered by the browser, and kept by no cache on the way."""
    response = preflight(client, path, method)
    assert (response.status_code, response.data) == (204, b"")
    assert cors_of(response) == {
        "Access-Control-Allow-Origin": THERE,
        "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS",
        "Access-Control-Allow-Headers": "last-event-id",
        "Access-Control-Max-Age": "7200",
    }
    assert response.headers["Vary"] == "Origin"
    assert response.headers["Cache-Control"] == "no-store"
    assert "Content-Type" not in response.headers


@pytest.mark.parametrize(
    "names",
    [
        "traceparent,tracestate",
        "baggage,content-type,sentry-trace",
        "datastar-request, x-csrf-token",
        "authorization,cache-control,last-event-id,x-requested-with",
        "X_Odd!Name",
    ],
)
def test_preflight_allows_every_header_that_a_configured_origin_asks_for(client, names):
    """Tracing SDKs and front ends add headers of their own to each request."""
    assert cors_of(preflight(client, names=names))["Access-Control-Allow-Headers"] == names


@pytest.mark.parametrize(
    "names", ["", ",", "a,,b", "a b", "a:b", "a;b", "<b>", "é", '"a"', "a," + "b" * 3000, "a, " * 999 + "a"]
)
def test_preflight_repeats_nothing_but_names_of_headers(client, names):
    """What no browser would ask for is not repeated in the answer."""
    response = preflight(client, names=names)
    assert response.status_code == 204
    assert "Access-Control-Allow-Headers" not in cors_of(response)


@pytest.mark.parametrize("origin", ["", "null", "https://evil.example", "http://localhost"])
@pytest.mark.parametrize("method", ["", "GET"])
def test_preflight_of_any_other_is_granted_nothing(client, origin, method):
    """OPTIONS from anywhere else is answered by Flask, and grants nothing."""
    response = preflight(client, method=method, origin=origin)
    assert response.status_code == 200
    assert set(response.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}
    assert cors_of(response) == {}
    assert response.headers["Vary"] == "Origin"


def test_preflight_allows_credentials_when_configured():
    """Without this a browser would not send the request with its cookies."""
    client = make_app(cors_origins=[THERE], cors_credentials=True).test_client()
    assert cors_of(preflight(client))["Access-Control-Allow-Credentials"] == "true"


@pytest.mark.parametrize("origin", ["capacitor://localhost", "app://-", "chrome-extension://abc"])
def test_origin_of_another_scheme_is_served_where_it_is_configured(origin):
    """The page of an app in a shell, or of a browser's extension, is a page like any other."""
    client = make_app(cors_origins=[origin]).test_client()
    assert cors_of(preflight(client, origin=origin))["Access-Control-Allow-Origin"] == origin
    with client.get("/events", headers={"Origin": origin, "Sec-Fetch-Site": "cross-site"}) as response:
        assert cors_of(response) == {"Access-Control-Allow-Origin": origin}


@pytest.fixture
def views():
    """A client of an app with views of its own that stream."""
    sse = SSEPush()
    app = make_app(blueprint=sse, cors_origins=[THERE])
    app.add_url_rule("/mine", view_func=lambda: sse.stream("mine"), endpoint="mine")
    app.add_url_rule("/answer", view_func=lambda: sse.response(["a"]), endpoint="answer")
    return app.test_client()


@pytest.mark.parametrize("path", ["/mine", "/answer"])
def test_own_view_can_be_read_by_a_configured_origin(views, path):
    """Streams from views of one's own send the permission too."""
    with views.get(path, headers={"Origin": THERE}) as response:
        assert response.status_code == 200
        assert cors_of(response) == {"Access-Control-Allow-Origin": THERE}


@pytest.mark.parametrize("path", ["/mine", "/answer"])
def test_own_view_refuses_what_a_foreign_page_embeds(views, path):
    """A view of one's own streams into no iframe of another site."""
    assert (
        views.get(path, headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "iframe"}).status_code
        == 403
    )


@pytest.mark.parametrize("path", ["/mine", "/answer"])
def test_own_view_refuses_a_foreign_origin(views, path):
    """A view of one's own streams to no page of an origin that is not configured."""
    response = views.get(path, headers={"Origin": "https://evil.example"})
    assert response.status_code == 403
    assert cors_of(response) == {}
