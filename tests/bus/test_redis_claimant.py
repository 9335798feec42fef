"""Which app uses a log of a Redis, as the scripts are told. No server is needed."""

import pytest

from flask_sse_push import ConfigurationError
from flask_sse_push.bus import Identity

pytest.importorskip("redis")

from flask_sse_push.bus.redis.owner import Claim, Claimant  # noqa: E402


def claim_of(name, *routes):
    return Claimant(lambda: Identity(name, frozenset(routes)), "the log").claim()


def test_claim_is_the_same_for_the_same_app():
    """A name and routes give one claim in every process, and another name or another route another one."""
    shop = claim_of("shop", "/ index", "/cart cart")
    assert shop == claim_of("shop", "/cart cart", "/ index")
    others = [claim_of("chat", "/ index", "/cart cart"), claim_of("shop", "/ index"), claim_of("shop")]
    assert len({claim.digest for claim in [shop, *others]}) == 4
    assert len(shop.digest) == 16
    assert len(shop.routes) == 16


def test_claim_is_bounded():
    """However long a name and however many routes, a claim is short, and close versions share most of it."""
    before, after = (
        claim_of("x" * 500, *(f"/{n}" for n in range(first, first + 5000))) for first in (0, 100)
    )
    assert (len(before.name), len(before.routes)) == (100, 256 * 8)

    def routes(claim):
        return {claim.routes[index : index + 8] for index in range(0, len(claim.routes), 8)}

    assert len(routes(before) & routes(after)) > 200


def test_claim_is_taken_anew_by_refresh():
    """The app is asked once, and again when it may have got more routes."""
    routes = ["/ index"]
    claimant = Claimant(lambda: Identity("shop", frozenset(routes)), "the log")
    first = claimant.claim()
    routes.append("/cart cart")
    assert claimant.claim() == first
    assert claimant.refresh() != first
    assert claimant.claim() == claimant.refresh()


def test_user_without_an_identity_claims_nothing():
    """A log that is shared on purpose is used without a claim."""
    claimant = Claimant(None, "the log")
    assert claimant.claim() == claimant.refresh() == Claim("", "", "")


def test_owner_that_is_another_app_is_told():
    """The refusal names both apps, the log and the cure; no other owner is no refusal."""
    claimant = Claimant(lambda: Identity("shop", frozenset()), "the log 'x'")
    claimant.check_owner(b"")
    with pytest.raises(ConfigurationError) as caught:
        claimant.check_owner(b"chat\xff" * 100)
    assert "The app 'shop' may not use the log 'x'" in str(caught.value)
    assert "'chat" in str(caught.value) and "?prefix=shop" in str(caught.value)
    assert len(str(caught.value)) < 500
    with pytest.raises(ConfigurationError, match="an app of the same name with other routes"):
        claimant.check_owner(b"shop")
