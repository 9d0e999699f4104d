"""What `xcore up` was told beside its configuration; kept over upgrades, which run the same command line."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mode:
    """``development``: gateways tell clients on this machine why a plugin cannot be served.

    ``offline``: no installer is started.
    """

    development: bool = False
    offline: bool = False
