"""One documented rule for prefixes and names, and who owns what."""

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.errors import PluginRefusedError
from supervisor.preparation.prefixes import RESERVED, Claims, check_plugin_name, is_below, normalise_prefix

SEGMENT = st.text("abcXYZ019-_.~é日", min_size=1, max_size=5).filter(lambda segment: segment not in {".", ".."})
PREFIX = st.lists(SEGMENT, min_size=1, max_size=3).map(lambda segments: "/" + "/".join(segments))


# --- one prefix ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        ("/app/todo", "/app/todo"),
        ("/app/todo/", "/app/todo"),
        ("/", "/"),
        ("/Shop", "/Shop"),
        ("/app/café", "/app/café"),
        ("/app/हिन्दी", "/app/हिन्दी"),
        ("/a.b/~c/d:e@f;g=h,i", "/a.b/~c/d:e@f;g=h,i"),
        ("/...", "/..."),
    ],
)
def test_a_good_prefix_is_taken_literally(text, prefix):
    """Only a slash at the end is dropped; case and script stay."""
    assert normalise_prefix(text) == prefix


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"),
        ("app/todo", "must start with a slash: write '/app/todo'"),
        ("//app", "empty segment"),
        ("/app//todo", "empty segment"),
        ("/app//", "empty segment"),
        ("//", "empty segment"),
        ("/app/../admin", r"'\.\.'"),
        ("/./app", r"'\.'"),
        ("/app/%2e%2e/admin", "'%'"),
        ("/app%2fx", "'%'"),
        ("/my shop", "' '"),
        ("/shop\n", r"'\\n'"),
        ("/shop\x00", r"'\\x00'"),
        ("/shop?x=1", r"'\?'"),
        ("/shop#top", "'#'"),
        ("/shop\\..\\admin", r"'\\\\'"),
        ("/{tenant}/shop", "'{'"),
        ("/shop\u200b", "u200b"),
        ("/cafe\u0301", "normal form C"),
    ],
)
def test_a_bad_prefix_is_refused_with_the_reason(text, problem):
    """Reliability 44: whatever could be encoded, decoded or resolved on its way is refused."""
    with pytest.raises(ValueError, match=problem):
        normalise_prefix(text)


@given(st.text(max_size=20).map(lambda text: "/" + text))
def test_a_normal_prefix_is_its_own_normal_form(text):
    """Two prefixes are the same exactly when their normal texts are."""
    try:
        prefix = normalise_prefix(text)
    except ValueError:
        return
    assert normalise_prefix(prefix) == prefix
    assert prefix == "/" or not prefix.endswith("/")
    assert not set(prefix) & set("%?#\\ \n\x00")


@pytest.mark.parametrize(
    ("path", "below"), [("/app/event", True), ("/app/event/1", True), ("/app/events", False), ("/app", False)]
)
def test_below_goes_by_segments(path, below):
    """/app/event never catches /app/events."""
    assert is_below(path, "/app/event") is below


# --- claims -------------------------------------------------------------------------------------------------


def test_a_prefix_is_given_out_once():
    """The newcomer is refused with the owner's name, the owner keeps serving."""
    claims = Claims()
    claims.claim("shop", "/shop")
    with pytest.raises(PluginRefusedError, match="plugin 'copy' refused: prefix '/shop' belongs to plugin 'shop'"):
        claims.claim("copy", "/shop/")
    assert claims.prefixes == {"shop": "/shop"}


def test_the_refused_one_gets_the_prefix_when_the_owner_goes():
    """Reliability 44."""
    claims = Claims()
    claims.claim("shop", "/shop")
    assert claims.release("shop") == "/shop"
    assert claims.claim("copy", "/shop") == "/shop"
    assert claims.owner("/shop") == "copy"


def test_nested_prefixes_live_side_by_side():
    """The longest wins at the gateway; nobody is refused."""
    claims = Claims()
    for plugin, prefix in (("a", "/a"), ("b", "/a/b"), ("root", "/")):
        assert claims.claim(plugin, prefix) == prefix


def test_other_case_is_another_prefix():
    """Paths are case-sensitive, and so are claims."""
    claims = Claims()
    claims.claim("shop", "/shop")
    assert claims.claim("other", "/Shop") == "/Shop"


@pytest.mark.parametrize("reserved", RESERVED)
@pytest.mark.parametrize("below", ["", "/", "/x"])
def test_the_gateways_own_paths_are_not_to_be_had(reserved, below):
    """Nobody serves a login page under /auth but us."""
    with pytest.raises(PluginRefusedError, match="reserved"):
        Claims().claim("shop", reserved + below)


@pytest.mark.parametrize("prefix", ["/administration", "/docs2", "/app/admin", "/"])
def test_prefixes_that_only_look_reserved_are_free(prefix):
    """Reserved by segments, from the root."""
    assert Claims().claim("shop", prefix) == prefix


def test_a_new_claim_replaces_the_plugins_old_one():
    """A reload may move a plugin; its old place is free then."""
    claims = Claims()
    claims.claim("shop", "/shop")
    claims.claim("shop", "/store")
    assert (claims.owner("/shop"), claims.owner("/store")) == (None, "shop")
    assert claims.claim("shop", "/store") == "/store"


def test_a_refused_claim_leaves_the_plugin_where_it_is():
    """The old generation keeps serving under its prefix."""
    claims = Claims()
    claims.claim("shop", "/shop")
    claims.claim("copy", "/copy")
    for prefix in ("/shop", "/admin", "no slash"):
        with pytest.raises(PluginRefusedError):
            claims.claim("copy", prefix)
    assert claims.prefixes == {"shop": "/shop", "copy": "/copy"}


def test_what_is_held_provisionally_goes_to_whoever_claims_it():
    """What code says goes before what was expected of other code; two expectations are first come, first served."""
    claims, lost = Claims(), []
    assert claims.claim_provisionally("shop", "/app/shop/", lambda: lost.append("shop")) == "/app/shop"
    with pytest.raises(PluginRefusedError, match="belongs to plugin 'shop'"):
        claims.claim_provisionally("copy", "/app/shop", lambda: lost.append("copy"))
    assert claims.check("copy", "/app/shop") == "/app/shop"
    claims.claim("copy", "/app/shop")
    assert (claims.prefixes, lost) == ({"copy": "/app/shop"}, ["shop"])
    with pytest.raises(PluginRefusedError, match="belongs to plugin 'copy'"):
        claims.claim("shop", "/app/shop")


def test_a_claim_makes_a_provisional_one_good():
    """The code says what was expected of it."""
    claims = Claims()
    claims.claim_provisionally("shop", "/app/shop", pytest.fail)
    claims.claim("shop", "/app/shop")
    with pytest.raises(PluginRefusedError, match="belongs to plugin 'shop'"):
        claims.claim("copy", "/app/shop")


def test_release_of_what_was_never_claimed_is_nothing():
    """Callers need not remember who was refused."""
    assert Claims().release("shop") is None


@given(st.lists(st.tuples(st.sampled_from("abcd"), PREFIX, st.sampled_from(["claim", "expect", "leave"])), max_size=30))
def test_no_prefix_ever_has_two_owners(steps):
    """Whatever comes and goes, in whatever order."""
    claims, lost = Claims(), set()
    for plugin, prefix, step in steps:
        if step == "leave":
            claims.release(plugin)
            continue
        before = claims.owner(normalise_prefix(prefix))
        lost.clear()
        try:
            if step == "claim":
                claims.claim(plugin, prefix)
            else:
                claims.claim_provisionally(plugin, prefix, partial(lost.add, plugin))
            assert lost == {before} - {None, plugin}
        except PluginRefusedError:
            assert before not in {None, plugin} or any(is_below(prefix, reserved) for reserved in RESERVED)
        taken = list(claims.prefixes.values())
        assert len(taken) == len(set(taken))


# --- names --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "shop",
        "my shop",
        "a;rm -rf $HOME",
        "`x`",
        "%2e%2e",
        "a..b",
        "_private",
        "café",
        "日本",
        "a\\b",
        "x" * 200,
        "~",
        "*",
    ],
)
def test_names_are_taken_literally(name):
    """Reliability 45: no shell anywhere, so shell characters are characters."""
    check_plugin_name(name)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "empty"),
        ("_base", "reserved for xcore's own"),
        ("_plugins", "reserved for xcore's own"),
        ("_tasks", "reserved for xcore's own"),
        ("gateway", "reserved for xcore's own"),
        ("supervisor", "reserved for xcore's own"),
        ("guard", "reserved for xcore's own"),
        (".", "starts with"),
        ("..", "starts with"),
        (".hidden", r"starts with '\.'"),
        ("-rf", "starts with '-'"),
        ("__pycache__", "starts with '__'"),
        ("a/b", "slash"),
        ("a\nb", "control character"),
        ("a\x1b[31m", "control character"),
        ("a\x00", "control character"),
        ("sh\u200bop", "invisible"),
        ("shop\u202egnp", "invisible"),
        ("shop\udcff", "invisible"),
        ("task:digest", "colon"),
        (":", "colon"),
        ("x" * 201, "longer than 200 bytes"),
        ("日" * 67, "longer than 200 bytes"),
        ("cafe\u0301", "normal form C"),
    ],
)
def test_names_that_could_pass_for_something_else_are_refused(name, problem):
    """Reliability 45: options, hidden files, paths, line breaks, tasks and jobs, twins."""
    with pytest.raises(PluginRefusedError, match=f"refused: .*{problem}.*; rename its folder"):
        check_plugin_name(name)


@given(st.text(max_size=80))
def test_a_name_that_passes_is_one_visible_path_segment(name):
    """Whatever people call their folders."""
    try:
        check_plugin_name(name)
    except PluginRefusedError:
        return
    assert name.splitlines() == [name]
    assert not {"/", ":"} & set(name)
    assert name not in {"", ".", ".."}
