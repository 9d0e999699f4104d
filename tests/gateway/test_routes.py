"""Which plugin a path belongs to."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BadRequestError
from gateway.routes import CORE, CORE_SEGMENTS, RouteTable, check_path

TABLE = RouteTable(
    {"/p/x": "x", "/p/x/deep": "deep", "/app/todo": "todo", "/über": "unicode", "/admin/plugins": "thief"}
)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (b"/p/x", "x"),
        (b"/p/x/", "x"),
        (b"/p/x/y?not-a-query", "x"),
        (b"/p/x/deep", "deep"),
        (b"/p/x/deep/er", "deep"),
        (b"/p/x/deeper", "x"),
        (b"/p/xy", None),
        (b"/p", None),
        (b"/P/X", None),
        (b"/p//x", None),
        (b"//p/x", None),
        (b"/p%2fx", None),
        (b"/p/x%2fdeep", None),
        (b"/app/todo/1", "todo"),
        (b"/%C3%BCber/1", "unicode"),
        (b"/", None),
        (b"", None),
    ],
)
def test_the_longest_prefix_by_whole_segments_wins(path, found):
    """`/p/xy` is not below `/p/x`, and encoded slashes separate nothing."""
    assert TABLE.find(path) == found


@pytest.mark.parametrize("name", sorted(CORE_SEGMENTS))
def test_no_plugin_gets_a_path_of_the_core(name):
    """Whatever plugins claim: the first segment decides."""
    table = RouteTable({"/": "all", f"/{name}": "thief", f"/{name}/deep": "thief"})
    assert table.find(f"/{name}".encode()) is CORE
    assert table.find(f"/{name}/deep".encode()) is CORE


@pytest.mark.parametrize("path", [b"//admin", b"/admin%2f", b"/admin%2Fplugins", b"/%61dmin", b"/Admin", b"/adminx"])
def test_what_only_looks_like_the_core_is_not_the_core(path):
    """Otherwise what is checked here and what is served there would differ."""
    assert RouteTable({}).find(path) is None
    assert RouteTable({"/": "all"}).find(path) == "all"


@pytest.mark.parametrize("path", [b"/", b"/anything", b"/a/b"])
def test_the_root_prefix_takes_what_nobody_else_claims(path):
    """A plugin may claim "/"."""
    assert RouteTable({"/": "all", "/p": "p"}).find(path) == "all"


@pytest.mark.parametrize(
    "path",
    [
        b"/p/../admin",
        b"/..",
        b"/p/%2e%2e/admin",
        b"/p/%2E./admin",
        b"/a%2f..%2fadmin",
        b"/a%5c..%5cadmin",
        b"/p/%00",
        b"*",
        b"",
        b"http:",
    ],
)
def test_paths_that_can_be_read_in_two_ways_are_refused(path):
    """Who decodes later would see another path than we did."""
    with pytest.raises(BadRequestError):
        check_path(path)


@pytest.mark.parametrize(
    "path", [b"/", b"/p/x", b"/a..b", b"/...", b"/p/%20", b"/p/%2e", b"/p/100%", b"/p/%zz", b"/.x"]
)
def test_ordinary_paths_are_not_refused(path):
    """Dots and escapes are common; only `..` as a segment is not."""
    check_path(path)


@given(st.lists(st.sampled_from(["a", "b", "c"]), max_size=4), st.lists(st.sampled_from(["a", "b", "c"]), max_size=6))
def test_find_agrees_with_comparing_every_prefix(prefix, path):
    """The tree is only a faster way of saying the same."""
    prefixes = {tuple(prefix), ("a", "b"), ()}
    table = RouteTable({"/" + "/".join(item): item for item in prefixes})
    expected = max((item for item in prefixes if tuple(path[: len(item)]) == item), key=len)
    assert table.find(b"/" + "/".join(path).encode()) == expected


def test_routing_among_200_plugins_costs_what_it_costs_for_one():
    """Cost follows the path, not the number of plugins. Counted in steps: short times measure the machine."""

    def steps(table):
        lines = 0

        def trace(_frame, event, _argument):
            nonlocal lines
            lines += event == "line"
            return trace

        sys.settrace(trace)
        try:
            table.find(b"/app/plugin0/items/17")
        finally:
            sys.settrace(None)
        return lines

    one = RouteTable({"/app/plugin0": 0})
    many = RouteTable({f"/app/plugin{number}": number for number in range(200)})
    assert steps(one) == steps(many) > 0
