import asyncio
import os
from pathlib import Path

import pytest

from supervisor.environments.package_index import PackageIndex
from supervisor.environments.runner import Completed
from supervisor.errors import EnvironmentBuildError
from tests.fakes.runners import ScriptedRunner, SubprocessRunner

PIPS = "https://pip.example/simple"


def answering(*, mirror, certificate="null"):
    line = f'xcore-index:{{"index_url": "{PIPS}", "certificate": {certificate}, "mirror": {mirror}}}'
    return ScriptedRunner(lambda _: Completed(0, tail=("a warning of a library", line)))


def source(runner, index_url=None):
    return asyncio.run(PackageIndex(runner, {}, index_url).source("shop"))


def test_the_configured_index_stands_in_for_the_default_source():
    """supervisor.index_url is the operator's word, whatever pip has."""
    assert source(answering(mirror="true"), "https://house.example/simple").mirror == "https://house.example/simple"


def test_pips_index_is_used_where_the_default_source_does_not_answer():
    """Many sites reach packages through a simple index only, and pip is configured for it."""
    assert source(answering(mirror="true")).variables == {"POETRY_PYPI_MIRROR_URL": PIPS}


def test_the_default_source_is_used_where_it_answers():
    """No variable at all: Poetry as it is meant to be."""
    assert source(answering(mirror="false")).variables == {}


def test_poetry_trusts_the_certificates_that_pip_trusts():
    """A company's own authority is often known to pip alone."""
    answer = source(answering(mirror="false", certificate='"/etc/house.pem"'))
    assert answer.variables == {"REQUESTS_CA_BUNDLE": "/etc/house.pem"}


def test_it_is_asked_once_whoever_asks():
    """Ten plugins that start together need one answer."""

    async def ask():
        index = PackageIndex(runner, {})
        await asyncio.gather(*(index.source(f"plugin{i}") for i in range(10)))

    runner = answering(mirror="true")
    asyncio.run(ask())
    assert runner.verbs == ["index"]


@pytest.mark.parametrize("completed", [Completed(1, tail=("No module named 'poetry'",)), Completed(0)])
def test_no_answer_is_an_error_that_says_what_is_missing(completed):
    """The supervisor's environment is broken, not the plugin's."""
    with pytest.raises(EnvironmentBuildError, match="must be installed in the supervisor's own environment") as caught:
        source(ScriptedRunner(lambda _: completed))
    assert caught.value.log_tail == list(completed.tail)


@pytest.mark.slow
@pytest.mark.process
def test_the_probe_asks_pip_and_tries_the_default_source(tmp_path):
    """With the real pip: its configured index is found, and since it is not the default one, it is used."""
    configuration = tmp_path / "pip.conf"
    configuration.write_text(f"[global]\nindex-url = {PIPS}\ncert = {tmp_path / 'house.pem'}\n")
    environment = {"PIP_CONFIG_FILE": str(configuration), "PATH": os.environ["PATH"]}
    answer = asyncio.run(PackageIndex(SubprocessRunner(), environment).source("shop"))
    assert answer.mirror == PIPS
    assert Path(answer.certificate) == tmp_path / "house.pem"
