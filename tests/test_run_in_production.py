"""The page on production against the product: its keys are there, its numbers go together, its proxy hides nothing."""

import json
import re

from gateway.headers import FORWARDED
from supervisor.config.settings import SupervisorSettings
from supervisor.config.source import load
from supervisor.spec import Timeouts
from tests.readme import ROOT

PAGE = (ROOT / "docs" / "how-to" / "run-in-production.md").read_text()
KEYS = (ROOT / "docs" / "reference" / "config.md").read_text()
KINDS_THAT_STOP_ONE_AFTER_THE_OTHER = 4
"""Gateways, runs of jobs, services of tasks, workers."""


def block(language: str) -> str:
    (text,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return text


def unit() -> dict[str, str]:
    return dict(re.findall(r"^(\w+)=(.*)$", block("ini"), re.MULTILINE))


def test_every_key_of_the_configuration_that_it_names_exists():
    """Whoever follows the page sets keys that config.json takes."""
    named = set(re.findall(r"`((?:manager|gateway|supervisor)\.[\w.]+)`", PAGE))
    assert named
    assert [key for key in sorted(named) if f"`{key}`" not in KEYS] == []


def test_the_configuration_behind_nginx_is_valid_and_is_where_nginx_asks(tmp_path):
    """As it stands on the page."""
    path = tmp_path / "config.json"
    path.write_text(block("json"))
    gateway = load(path, {}).gateway
    assert f"server {gateway.host}:{gateway.port};" in block("nginx")
    assert list(gateway.trusted_proxies) == [gateway.host]
    assert json.loads(block("json")).keys() == {"gateway"}


def test_nginx_sets_or_empties_every_field_that_a_trusted_proxy_is_believed():
    """A field that it leaves alone is the client's to invent."""
    said = {name.lower().encode() for name in re.findall(r"proxy_set_header (\S+)", block("nginx"))}
    assert FORWARDED - said == set()


def test_systemd_waits_as_long_as_a_stop_takes():
    """Killed before, the supervisor would leave the rest to the guard."""
    assert int(unit()["TimeoutStopSec"]) > KINDS_THAT_STOP_ONE_AFTER_THE_OTHER * Timeouts().stop


def test_the_next_supervisor_is_started_well_within_the_grace():
    """Later there is nothing to take over."""
    assert int(unit()["RestartSec"]) < SupervisorSettings().adopt_grace / 2
    assert unit()["KillMode"] == "process"


def test_it_starts_and_reloads_by_commands():
    """The rest of the page's commands is checked with those of all pages."""
    assert unit()["ExecStart"].endswith("/xcore up")
    assert unit()["ExecReload"].endswith("/xcore config reload")
