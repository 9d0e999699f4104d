"""What of a message's fields goes on."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BadRequestError
from gateway.headers import HOP_BY_HOP, Sifter, response

PEER = ("203.0.113.9", 40000)
PROXY = ("10.0.0.1", 40000)
TRUSTING = Sifter([ipaddress.ip_network("10.0.0.0/8")])
HOST = (b"host", b"example.org")


def sift(*fields, sifter=Sifter(), client=PEER, scheme="http", version="1.1"):  # noqa: B008 - immutable
    return sifter.request([HOST, *fields], client, scheme, version)


def values(forwarded, name):
    return [value for field, value in forwarded.headers if field == name]


@pytest.mark.parametrize("name", sorted(HOP_BY_HOP - {b"connection"}))
def test_fields_about_the_connection_go_no_further(name):
    """They are about the client's connection to us, and the plugin is on another."""
    assert values(sift((name, b"x")), name) == []


def test_fields_named_by_connection_go_no_further():
    """RFC 9110, 7.6.1: they are hop-by-hop because the sender says so."""
    forwarded = sift((b"connection", b"close, X-Secret"), (b"x-secret", b"1"), (b"x-public", b"2"))
    assert values(forwarded, b"x-secret") == []
    assert values(forwarded, b"x-public") == [b"2"]


@pytest.mark.parametrize("name", [b"host", b"content-length", b"authorization", b"cookie", b"x-forwarded-for"])
def test_connection_cannot_take_away_what_the_request_means(name):
    """Nor what we say about it: an attacker would hide who they are."""
    fields = [] if name == b"host" else [(name, b"1")]
    assert values(sift((b"connection", name), (b"x-request-id", b"1"), *fields), name) != []


def test_connection_cannot_take_away_our_request_id():
    """Our own fields are added after what the client wanted removed."""
    assert values(sift((b"connection", b"x-request-id"), (b"x-request-id", b"abc")), b"x-request-id") == [b"abc"]


@pytest.mark.parametrize(
    "name", [b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip", b"forwarded"]
)
def test_what_an_untrusted_peer_says_about_the_client_is_dropped(name):
    """Anybody can write these."""
    assert b"evil" not in values(sift((name, b"evil")), name)


def test_an_untrusted_peer_is_the_client():
    """Applications that only look at these fields see what the scope says."""
    forwarded = sift((b"x-forwarded-for", b"1.2.3.4"), (b"x-forwarded-proto", b"https"))
    assert values(forwarded, b"x-forwarded-for") == [b"203.0.113.9"]
    assert values(forwarded, b"x-forwarded-proto") == [b"http"]
    assert (forwarded.client, forwarded.scheme) == (PEER, "http")


def test_a_trusted_proxy_is_believed_and_appended():
    """The chain stays whole, and the scope tells of the real client."""
    forwarded = sift(
        (b"x-forwarded-for", b"198.51.100.7"),
        (b"x-forwarded-proto", b"https"),
        (b"x-forwarded-host", b"public.example"),
        (b"forwarded", b"for=198.51.100.7"),
        sifter=TRUSTING,
        client=PROXY,
    )
    assert values(forwarded, b"x-forwarded-for") == [b"198.51.100.7, 10.0.0.1"]
    assert values(forwarded, b"x-forwarded-host") == [b"public.example"]
    assert values(forwarded, b"forwarded") == [b"for=198.51.100.7, for=10.0.0.1;proto=http"]
    assert (forwarded.client, forwarded.scheme) == (("198.51.100.7", 0), "https")


@pytest.mark.parametrize(
    ("chain", "client"),
    [
        (b"6.6.6.6, 198.51.100.7", "198.51.100.7"),
        (b"6.6.6.6, 198.51.100.7, 10.0.0.2", "198.51.100.7"),
        (b"10.0.0.3, 10.0.0.2", "10.0.0.3"),
        (b"198.51.100.7:1234", "198.51.100.7"),
        (b"[2001:db8::1]:1234", "2001:db8::1"),
        (b"6.6.6.6, nonsense, 10.0.0.2", "10.0.0.2"),
        (b"", "10.0.0.1"),
    ],
)
def test_the_client_is_the_last_hop_that_is_not_ours(chain, client):
    """What stands before it was written by the client itself."""
    forwarded = sift((b"x-forwarded-for", chain), sifter=TRUSTING, client=PROXY)
    assert forwarded.client[0] == client


def test_a_peer_outside_the_trusted_networks_is_not_believed():
    """Trust is in the address, not in the setting."""
    assert sift((b"x-forwarded-for", b"1.2.3.4"), sifter=TRUSTING).client == PEER


@pytest.mark.parametrize(
    "twin", [b"x_forwarded_for", b"x-forwarded_for", b"content_length", b"x_xcore_user", b"x_request_id"]
)
def test_underscore_twins_are_dropped(twin):
    """WSGI and CGI read X_Forwarded_For and X-Forwarded-For as the same variable."""
    assert values(sift((twin, b"evil")), twin) == []


def test_an_underscore_twin_of_another_field_of_the_request_is_dropped():
    """The application could not tell which it got."""
    forwarded = sift((b"x-user", b"1"), (b"x_user", b"2"))
    assert values(forwarded, b"x_user") == []
    assert values(forwarded, b"x-user") == [b"1"]


def test_an_underscore_without_a_twin_passes():
    """Unmodified applications have such fields."""
    assert values(sift((b"api_key", b"1")), b"api_key") == [b"1"]


@pytest.mark.parametrize("name", [b"x-xcore-user", b"x-xcore-anything"])
def test_nobody_outside_can_claim_an_identity(name):
    """Identity is a field of the link, and nothing that looks like it may pass."""
    assert values(sift((name, b"root")), name) == []


def test_a_sane_request_id_is_kept_and_another_replaced():
    """It goes into logs: neither line breaks nor novels."""
    assert sift((b"x-request-id", b"abc-1")).request_id == "abc-1"
    for bad in (b"", b"a b", b"x" * 129, b"a\tb"):
        made = sift((b"x-request-id", bad))
        assert made.request_id != bad.decode()
        assert values(made, b"x-request-id") == [made.request_id.encode()]


def test_request_ids_are_unique_in_a_gateway_and_among_gateways():
    """Logs of several gateways are read together."""
    sifters = Sifter(), Sifter()
    ids = {s.request([(b"host", b"test")], None, "http", "1.1").request_id for s in sifters for _ in range(50)}
    assert len(ids) == 100
    assert {len(made) for made in ids} == {32}


@pytest.mark.parametrize(
    "hosts",
    [[], [b"a", b"b"], [b"a/admin?y="], [b"user@a"], [b"a b"], [b"a,b"], [b"a:b"], [b"a:123456"], [b"[::1"], [b"a\\b"]],
)
def test_a_missing_doubled_or_malformed_host_is_refused(hosts):
    """Applications build links from it."""
    with pytest.raises(BadRequestError):
        Sifter().request([(b"host", host) for host in hosts], PEER, "http", "1.1")


@pytest.mark.parametrize("host", [b"a", b"a.example:8080", b"127.0.0.1:1", b"[::1]:80", b"a:", b""])
def test_an_ordinary_host_passes_unchanged(host):
    """An empty one is allowed: a target without authority."""
    assert values(Sifter().request([(b"host", host)], PEER, "http", "1.1"), b"host") == [host]


def test_http_1_0_needs_no_host():
    """It had none."""
    assert Sifter().request([], PEER, "http", "1.0").headers


def test_only_100_continue_can_be_expected():
    """RFC 9110, 10.1.1: 417. The field itself is answered by the door."""
    assert values(sift((b"expect", b"100-Continue")), b"expect") == []
    with pytest.raises(BadRequestError) as caught:
        sift((b"expect", b"miracles"))
    assert caught.value.status == 417


@pytest.mark.parametrize("fields", [[(b"x", b"1")] * 101, [(b"x", b"1" * 66_000)]])
def test_a_head_over_the_limits_is_refused(fields):
    """Every process behind us would hold it as well."""
    with pytest.raises(BadRequestError) as caught:
        sift(*fields)
    assert caught.value.status == 431


@pytest.mark.parametrize(
    ("fields", "has_body"),
    [
        ([], False),
        ([(b"content-length", b"0")], False),
        ([(b"content-length", b"5")], True),
        ([(b"transfer-encoding", b"chunked")], True),
    ],
)
def test_a_body_is_announced_by_its_length_or_coding(fields, has_body):
    """The door reads only what is there."""
    assert sift(*fields).has_body is has_body


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b", b"cookie", b"x-c"]), st.binary(max_size=5)), max_size=8))
def test_ordinary_fields_pass_in_order_and_unchanged(fields):
    """Doubled ones included: the application decides what they mean."""
    own = {b"host", b"x-request-id", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"}
    assert [field for field in sift(*fields).headers if field[0] not in own] == fields


def test_a_response_without_anything_special_is_passed_as_it_is():
    """Not even copied: this is the way of nearly all of them."""
    fields = [(b"content-type", b"text/plain"), (b"etag", b'"1"'), (b"content-encoding", b"gzip")]
    assert response(200, fields) is fields


@pytest.mark.parametrize("name", [b"Transfer-Encoding", b"connection", b"Keep-Alive", b"Upgrade", b"date"])
def test_what_the_door_says_is_not_taken_from_the_plugin(name):
    """Two framings of one message are a smuggled response; names may come in any case."""
    assert response(200, [(name, b"x"), (b"etag", b"1")]) == [(b"etag", b"1")]


def test_fields_that_a_plugin_names_in_connection_are_dropped():
    """It runs without a connection of its own, but its framework may think otherwise."""
    assert response(200, [(b"connection", b"x-hop"), (b"x-hop", b"1"), (b"etag", b"1")]) == [(b"etag", b"1")]


@pytest.mark.parametrize("status", [204, 304])
def test_a_response_without_a_body_promises_none(status):
    """The server below would wait for it."""
    assert response(status, [(b"content-length", b"5"), (b"etag", b"1")]) == [(b"etag", b"1")]
