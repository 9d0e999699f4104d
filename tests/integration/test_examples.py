"""The example plugins, in really built environments, as a newcomer meets them."""

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.integration.project import Project

pytestmark = [pytest.mark.process, pytest.mark.environment, pytest.mark.slow]

EXAMPLES = ("board", "hello", "legacy", "library")


@pytest.fixture(scope="module")
def examples(shared_project: Project) -> Iterator[Project]:
    shared_project.add_example(*EXAMPLES)
    return shared_project.up()


@pytest.fixture(scope="module")
def document(examples: Project) -> Mapping[str, Any]:
    """The OpenAPI document with the parts of all of them, which workers make when they serve already."""

    def complete() -> Mapping[str, Any] | None:
        found = examples.http.get("/openapi.json").raise_for_status().json()
        prefixes = ("/app/hello/", "/app/library/", "/app/legacy/")
        return found if all(any(path.startswith(prefix) for path in found["paths"]) for prefix in prefixes) else None

    return examples.wait_until(complete, "every plugin is documented")


def test_all_examples_run(examples):
    """What is shipped to learn from must work as it is."""
    health = examples.health()
    assert health["status"] == "ok"
    assert {name: plugin["state"] for name, plugin in health["plugins"].items()} == dict.fromkeys(EXAMPLES, "running")


def test_contradicting_versions_of_pydantic_answer_side_by_side(examples):
    """Two plugins whose dependencies exclude each other both work, at the same time."""
    new = examples.http.get("/app/library/about").raise_for_status().json()
    old = examples.http.get("/app/legacy/orders/about").raise_for_status().json()
    assert new["pydantic"].split(".")[0] == "2"
    assert old["pydantic"].split(".")[:2] == ["1", "10"]
    assert old["fastapi"].startswith("0.95.")


def test_hello_greets(examples):
    """The smallest plugin runs in the base environment and answers under its prefix."""
    assert examples.http.get("/app/hello/", params={"name": "Ada"}).json() == {"message": "Hello, Ada!"}


def test_a_prefix_is_matched_by_segments(examples):
    """/app/hello never catches /app/hello2."""
    assert examples.http.get("/app/hello2/").status_code == 404


def test_validation_errors_are_the_plugins_own(examples):
    """Each framework answers in its own way; nothing is rewritten on the way."""
    assert examples.http.post("/app/library/books", json={"title": ""}).status_code == 422
    refused = examples.http.post("/app/legacy/orders/", json={"item": "chair", "quantity": 0})
    assert refused.status_code == 422
    assert refused.json()["detail"][0]["msg"] == "must be at least 1"


def test_the_library_keeps_its_books_over_a_restart(examples):
    """Real create, read, change and delete on a database that outlives the process."""
    client = examples.http
    book = client.post("/app/library/books", json={"title": "SICP", "author": "Abelson"}).raise_for_status().json()
    path = f"/app/library/books/{book['id']}"
    changed = {"title": "SICP", "author": "Abelson, Sussman", "year": 1985, "copies": 2}
    assert client.put(path, json=changed).status_code == 200

    restarted = examples.admin.post("/admin/plugins/library/restart", params={"wait": 30})

    assert restarted.status_code == 202, restarted.text
    assert client.get(path).json() == {"id": book["id"], **changed}
    assert [found["id"] for found in client.get("/app/library/books", params={"search": "SIC"}).json()] == [book["id"]]
    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == 404


def test_the_board_works_under_its_prefix(examples):
    """Page, static file, form and redirect of an app that knows nothing of us are all below the prefix."""
    page = examples.http.get("/board/").raise_for_status()
    assert page.headers["content-type"].startswith("text/html")
    (style,) = re.findall(r'rel="stylesheet" href="([^"]+)"', page.text)
    assert style == f"{examples.url}/board/static/board.css"
    assert examples.http.get(style).headers["content-type"].startswith("text/css")
    (action,) = re.findall(r'action="([^"]+)"', page.text)

    posted = examples.http.post(action, data={"author": "Ada", "text": "<b>Engine</b> & more"})

    assert posted.status_code == 303
    assert posted.headers["location"] == f"{examples.url}/board/"
    assert "&lt;b&gt;Engine&lt;/b&gt; &amp; more" in examples.http.get(posted.headers["location"]).text


def test_one_openapi_document_describes_everything(document):
    """The paths of every plugin and of the core, whatever OpenAPI version each framework writes."""
    assert document["openapi"].startswith("3.1.")
    for path in ("/app/hello/", "/app/library/books/{book_id}", "/app/legacy/orders/{number}", "/admin/plugins"):
        assert path in document["paths"]


def test_every_reference_of_the_openapi_document_resolves(document):
    """Names that clash between plugins were made distinct, and whoever refers to them was told."""
    references = list(_references(document))
    assert references
    for reference in references:
        assert _resolve(document, reference) is not None, reference


def test_operations_of_the_openapi_document_are_distinct(document):
    """Generators of clients make one function of each operationId."""
    ids = [
        operation["operationId"]
        for item in document["paths"].values()
        for operation in item.values()
        if isinstance(operation, dict) and "operationId" in operation
    ]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_the_documentation_loads_nothing_from_elsewhere(examples, path):
    """It must work on a machine without the internet, and tell nobody that it was read."""
    page = examples.http.get(path).raise_for_status().text
    assets = re.findall(r'(?:src|href|url)\s*[=:]\s*["\']([^"\']+)["\']', page)
    assert len(assets) >= 2
    for asset in assets:
        assert not urlsplit(asset).netloc, asset
        assert examples.http.get(asset).status_code == 200, asset


def _references(value):
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for item in value.values():
            yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)


def _resolve(document, reference):
    assert reference.startswith("#/"), reference
    for part in reference.removeprefix("#/").split("/"):
        document = document.get(part.replace("~1", "/").replace("~0", "~"))
        if document is None:
            return None
    return document
