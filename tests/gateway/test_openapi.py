"""One OpenAPI document of many."""

import asyncio
import copy
import json

import pytest

from gateway.catalogue import Catalogue
from gateway.openapi import MalformedDocumentError, PluginDocument, merge, parse
from gateway.openapi_upgrade import upgrade
from plugin_runtime.protocol import PluginSchema

CORE = {
    "openapi": "3.1.0",
    "info": {"title": "xcore", "version": "1"},
    "paths": {"/health": {"get": {}}},
    "components": {"schemas": {"Item": {"title": "of the core"}, "Health": {}}},
    "tags": [{"name": "health"}],
}


def document(**fields):
    return {"openapi": "3.1.0", "info": {}, "paths": {}, **fields}


def plugin(name="shop", prefix="/shop", **fields):
    return PluginDocument(name, prefix, document(**fields))


def reference(name, kind="schemas"):
    return {"$ref": f"#/components/{kind}/{name}"}


@pytest.mark.parametrize(
    ("prefix", "paths", "merged"),
    [
        ("/shop", ["/items", "/"], ["/shop/items", "/shop/"]),
        ("/shop", ["/shop", "/shop/items"], ["/shop", "/shop/items"]),
        ("/shop", ["/shop/items", "/shopping"], ["/shop/shop/items", "/shop/shopping"]),
        ("/", ["/items"], ["/items"]),
        ("/", ["/health"], []),
    ],
)
def test_paths_are_those_that_clients_use(prefix, paths, merged):
    """An application gives all of its paths below its prefix, or none of them."""
    result = merge(CORE, [plugin(prefix=prefix, paths={path: {"get": {"summary": "x"}} for path in paths})])
    assert list(result["paths"]) == ["/health", *merged]


def test_names_that_two_documents_use_are_made_distinct_in_the_plugins():
    """Whoever starts first must not decide what a name means; references follow."""
    operation = {
        "operationId": "list",
        "responses": {"200": {"content": {"application/json": {"schema": reference("Item")}}}},
    }
    schemas = {"Item": {"properties": {"part": reference("Part")}}, "Part": {}, "Own": {}}
    one = plugin("one", "/one", paths={"/": {"get": operation}}, components={"schemas": schemas})
    two = plugin("two", "/two", components={"schemas": {"Part": {}}})
    result = merge(CORE, [two, one])
    assert set(result["components"]["schemas"]) == {"Item", "Health", "one__Item", "one__Part", "two__Part", "Own"}
    assert result["components"]["schemas"]["Item"] == {"title": "of the core"}
    assert result["components"]["schemas"]["one__Item"]["properties"]["part"] == reference("one__Part")
    merged = result["paths"]["/one/"]["get"]
    assert merged["operationId"] == "one__list"
    assert merged["responses"]["200"]["content"]["application/json"]["schema"] == reference("one__Item")
    assert merge(CORE, [one, two]) == result


def test_discriminators_and_security_follow_their_names():
    """They name components without a reference."""
    schemes = {"securitySchemes": {"token": {"type": "http"}}}
    schemas = {
        "Pet": {
            "discriminator": {"propertyName": "kind", "mapping": {"cat": "#/components/schemas/Cat", "dog": "Dog"}}
        },
        "Cat": {},
        "Dog": {},
    }
    paths = {"/": {"get": {}, "post": {"security": [{"token": ["write"]}]}, "put": {"security": []}}}
    one = plugin("one", "/one", paths=paths, components={**schemes, "schemas": schemas}, security=[{"token": []}])
    two = plugin("two", "/two", components={**schemes, "schemas": {"Cat": {}, "Dog": {}}})
    result = merge(CORE, [one, two])
    mapping = result["components"]["schemas"]["Pet"]["discriminator"]["mapping"]
    assert mapping == {"cat": "#/components/schemas/one__Cat", "dog": "one__Dog"}
    operations = result["paths"]["/one/"]
    assert operations["get"]["security"] == [{"one__token": []}]
    assert operations["post"]["security"] == [{"one__token": ["write"]}]
    assert operations["put"]["security"] == []


def test_data_is_not_taken_for_references():
    """An example may hold anything, also the word "$ref"; a property may be called like a keyword."""
    schema = {
        "properties": {"default": reference("Item"), "operationId": {"type": "string"}},
        "example": reference("Item"),
        "default": reference("Item"),
    }
    result = merge(CORE, [plugin(components={"schemas": {"Item": schema}})])
    merged = result["components"]["schemas"]["shop__Item"]
    assert merged["properties"]["default"] == reference("shop__Item")
    assert merged["properties"]["operationId"] == {"type": "string"}
    assert merged["example"] == merged["default"] == reference("Item")


def test_operations_without_tags_are_grouped_by_plugin_and_tags_kept_once():
    """Otherwise the page lists them all under "default"."""
    paths = {"/": {"get": {}, "post": {"tags": ["goods"]}, "parameters": []}}
    result = merge(CORE, [plugin(paths=paths, tags=[{"name": "goods"}, {"name": "health"}])])
    assert result["paths"]["/shop/"]["get"]["tags"] == ["shop"]
    assert result["paths"]["/shop/"]["post"]["tags"] == ["goods"]
    assert [tag["name"] for tag in result["tags"]] == ["health", "goods"]


def test_nothing_given_is_changed():
    """The core's document is merged again with the next plugin."""
    core, one = copy.deepcopy(CORE), plugin(components={"schemas": {"Item": {}}}, paths={"/": {"get": {}}})
    before = copy.deepcopy(one.document)
    merge(core, [one])
    assert (core, one.document) == (CORE, before)


@pytest.mark.parametrize(
    "broken",
    [
        {"paths": []},
        {"paths": {"/": None}},
        {"paths": {"/": {"get": 5}}},
        {"components": []},
        {"components": {"schemas": None}},
        {"tags": 3},
        {"tags": [1, {"name": {}}]},
        {"security": "all"},
        {"paths": {"/": {"get": {"security": [5]}}}},
        {"paths": {"/": {"get": {"tags": "x", "operationId": 5}}}},
        {"components": {"schemas": {"A": {"discriminator": {"mapping": {"a": 1}}}}}},
    ],
)
def test_a_document_of_another_shape_does_no_harm(broken):
    """Documents come from plugins; one of them must not take the page from all."""
    assert "/health" in merge(CORE, [plugin(**broken)])["paths"]


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"swagger": "2.0"}', b"\xff", b"[" * 100_000])
def test_what_is_no_document_is_left_out(data):
    """With an error that names the plugin."""
    with pytest.raises(MalformedDocumentError, match="shop"):
        parse("shop", "/shop", data)


def test_a_document_that_nests_too_deeply_is_left_out_alone():
    """Whether JSON or our own walk gives up first."""
    deep = b'{"openapi": "3.1.0", "paths": {"/": {"get": {"x": %s1%s}}}}' % (b"[" * 900, b"]" * 900)

    async def scenario():
        catalogue = Catalogue()
        catalogue.update(PluginSchema("deep", "/deep", "h", deep))
        catalogue.update(PluginSchema("fine", "/fine", "h", json.dumps(document(paths={"/": {"get": {}}})).encode()))
        return json.loads(await catalogue.document(CORE))

    assert "/fine/" in asyncio.run(scenario())["paths"]


def test_the_merged_document_is_kept_until_a_plugin_changes():
    """Merging fifty documents for every look at the page would stop the gateway."""

    async def scenario():
        catalogue = Catalogue()
        first = await catalogue.document(CORE)
        assert await catalogue.document(CORE) is first
        catalogue.update(PluginSchema("shop", "/shop", "h1", json.dumps(document()).encode()))
        second = await catalogue.document(CORE)
        assert second is not first
        catalogue.update(PluginSchema("shop", "/shop", "h1", b""))
        assert await catalogue.document(CORE) == first

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"type": "string", "nullable": True}, {"type": ["string", "null"]}),
        ({"type": "string", "nullable": False}, {"type": "string"}),
        ({"nullable": True, "$ref": "#/x"}, {"anyOf": [{"$ref": "#/x"}, {"type": "null"}]}),
        ({"type": "string", "nullable": True, "enum": ["a"]}, {"type": ["string", "null"], "enum": ["a", None]}),
        ({"minimum": 1, "exclusiveMinimum": True}, {"exclusiveMinimum": 1}),
        ({"maximum": 1, "exclusiveMaximum": False}, {"maximum": 1}),
        ({"exclusiveMinimum": 3}, {"exclusiveMinimum": 3}),
        ({"example": 5}, {"examples": [5]}),
        (
            {"properties": {"nullable": {"type": "integer", "nullable": True}}},
            {"properties": {"nullable": {"type": ["integer", "null"]}}},
        ),
        ({"items": {"example": 1}}, {"items": {"examples": [1]}}),
        ({"allOf": [{"example": 1}], "not": {"example": 2}}, {"allOf": [{"examples": [1]}], "not": {"examples": [2]}}),
        ({"default": {"nullable": True}}, {"default": {"nullable": True}}),
        (True, True),
    ],
)
def test_schemas_of_3_0_are_written_as_3_1(old, new):
    """In components and wherever else a schema may stand."""
    body = {"content": {"application/json": {"schema": old, "example": {"nullable": True}}}}
    result = upgrade(
        {"openapi": "3.0.3", "components": {"schemas": {"A": old}}, "paths": {"/": {"post": {"requestBody": body}}}}
    )
    assert result["openapi"].startswith("3.1")
    assert result["components"]["schemas"]["A"] == new
    media = result["paths"]["/"]["post"]["requestBody"]["content"]["application/json"]
    assert media == {"schema": new, "example": {"nullable": True}}


def test_a_document_of_3_1_is_left_as_it_is():
    """There `nullable` is just a word."""
    given = document(components={"schemas": {"A": {"nullable": True}}})
    assert upgrade(given) is given
