"""The contract of calls to plugins: what a caller says to the gateways' local side.

Part of the contract, with the rules of protocol.py. Documented in docs/reference/plugin-calls.md.
"""

from __future__ import annotations

LOCAL_HOST = "localhost"
"""Host of every call: frameworks that check it allow this one unasked."""
NAME_MARK = "/~"
"""A target that begins so goes on with a plugin's name, percent-encoded, and what lies below its prefix."""
KEY_FIELD = "x-xcore-key"
"""Header field with the caller's key, see protocol.Caller."""
USER_FIELD = "x-xcore-user"
"""Header field with the user, as JSON; missing: none."""
HOPS_FIELD = "x-xcore-hops"
"""Header field with the number of calls up to and with this one."""
TELL_CALLERS = "callers.tell"
"""Operation by which a gateway asks for the callers that it was not told of: it has when it is answered."""
MOST_HOPS = 16
"""Plugins that call each other in a circle would do so for ever."""
