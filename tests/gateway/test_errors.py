"""Errors as answers."""

import json

import pytest

from gateway import errors
from gateway.errors import CallLoopError, GatewayError, PluginUnavailableError, UnauthorizedError, render
from plugin_runtime.gateway_protocol import Refusal


def test_an_answer_has_status_fields_and_the_error_model():
    """Fields of the error and of its body, names in lower case as ASGI wants them."""
    status, fields, body = render(PluginUnavailableError("hello", "failed", Refusal.UNAVAILABLE, 2.2))
    assert status == 503
    assert (b"retry-after", b"3") in fields
    assert (b"content-length", str(len(body)).encode()) in fields
    assert json.loads(body) == {
        "type": "PluginUnavailable",
        "message": "plugin 'hello' is not available: it is failed",
        "extension": {"plugin": "hello", "state": "failed", "reason": "unavailable"},
    }


@pytest.mark.parametrize(
    ("refusal", "cause"),
    [
        (Refusal.UNAVAILABLE, "it is being installed"),
        (Refusal.PARKING_SECONDS, "it is being installed"),
        (Refusal.PARKING_REQUESTS, "as many requests as may are waiting for a worker already"),
    ],
)
def test_callers_of_a_plugin_that_is_coming_learn_that(refusal, cause):
    """Its environment may take minutes, and a request waits for less."""
    error = PluginUnavailableError("hello", "installing", refusal, 1.0)
    assert error.message == f"plugin 'hello' is not available: {cause}"
    assert error.extension["state"] == "installing"


@pytest.mark.parametrize("caller", ["shop", "task:digest", "job:shop.clean"])
def test_a_call_that_leads_in_a_circle_is_of_whoever_makes_it(caller):
    """Tasks and jobs call as well, and are no plugins."""
    message = CallLoopError(caller, 16).message
    assert message == f"cannot carry out a call by {caller!r}: more than 16 calls led here; do they go in a circle?"


def test_an_unauthorized_answer_says_how_to_authorize():
    """RFC 9110, 15.5.2."""
    assert (b"www-authenticate", b"Bearer") in render(UnauthorizedError("no"))[1]


@pytest.mark.parametrize("name", sorted(name for name, item in vars(errors).items() if name.endswith("Error")))
def test_the_tree_in_the_module_s_docstring_has_every_error(name):
    """It is what people read first."""
    assert issubclass(getattr(errors, name), GatewayError)
    assert name in errors.__doc__
