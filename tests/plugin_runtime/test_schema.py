"""The OpenAPI document on its way to the supervisor."""

import hashlib
import json

from plugin_runtime import schema
from plugin_runtime.schema import make_schema


def test_the_hash_is_that_of_the_document():
    """The gateway asks for a document by it."""
    made = make_schema(lambda: {"openapi": "3.1.0", "info": {"title": "Grüße"}})
    assert json.loads(made.document)["info"]["title"] == "Grüße"
    assert made.hash == hashlib.sha256(made.document).hexdigest()


def test_models_that_cannot_be_described_cost_the_document_only(capsys):
    """The plugin serves; its author reads why on stderr."""

    def produce():
        raise TypeError("no schema for this type")

    assert make_schema(produce) is None
    assert "no schema for this type" in capsys.readouterr().err


def test_a_document_over_the_limit_is_left_out(monkeypatch, capsys):
    """It would not fit into a frame."""
    monkeypatch.setattr(schema, "MAX_SCHEMA", 10)
    assert make_schema(lambda: {"openapi": "3.1.0"}) is None
    assert "over 10" in capsys.readouterr().err
