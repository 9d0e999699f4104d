"""What the process of a plugin's run is started with."""

import pytest

from plugin_runtime.protocol import Kind
from plugin_runtime.task_protocol import TaskSettings
from plugin_runtime.wire import from_wire
from supervisor.jobs.plugin_host import PluginJobHost
from supervisor.schedule.job_spec import JobKind
from supervisor.spec import RestartWhen
from tests.fakes.builds import build_of
from tests.fakes.jobs import job


@pytest.fixture
def host(tmp_path):
    def host(**keys):
        return PluginJobHost(build_of(tmp_path, "shop", **keys), adopt_grace=3.0)

    return host


CLEANUP = job("cleanup", "shop", kind=JobKind.PLUGIN, entry="jobs:cleanup")


def test_its_process_is_one_of_the_plugin(host):
    """Same interpreter, environment, code, limits and timeouts as its workers; its lines are in the plugin's log."""
    plugin = host(memory_hard_mb=100.0, open_files=64, start_timeout=7.0, stop_timeout=3.0)
    spec = plugin.run_process(CLEANUP, "3f2a91c0").spec
    assert (spec.id, spec.name, spec.kind, spec.generation) == ("shop.cleanup.3f2a91c0", "shop", Kind.JOB, "abcdef")
    assert spec.command == (*plugin._build.command, "task")
    assert spec.environment == plugin._build.variables
    assert (spec.limits.memory_hard_mb, spec.limits.open_files) == (100.0, 64)
    assert (spec.timeouts.start, spec.timeouts.stop) == (7.0, 3.0)


def test_it_is_started_once_and_may_be_busy(host):
    """A function that computes for an hour does not hang."""
    spec = host().run_process(CLEANUP, "1").spec
    assert spec.restart.when is RestartWhen.NEVER
    assert spec.liveness is None


@pytest.mark.parametrize(
    ("keys", "contract", "where"), [({}, "seed", "."), ({"app": "main:app"}, "app", "plugins/shop")]
)
def test_it_is_told_what_to_run(host, tmp_path, keys, contract, where):
    """The generation's copy, where the plugin's workers would import it."""
    settings = from_wire(TaskSettings, host(**keys).run_process(CLEANUP, "1").settings)
    assert settings == TaskSettings(
        owner="shop",
        purpose="run",
        working_directory=str(tmp_path / where),
        plugin="shop",
        plugin_folder=str(tmp_path / "plugins" / "shop"),
        plugin_source=str(tmp_path / "generations" / "shop" / "source"),
        plugin_contract=contract,
        job="cleanup",
        entry="jobs:cleanup",
        run="1",
        adopt_grace=3.0,
    )


def test_it_has_no_service(host):
    """Workers take no runs."""
    assert host().service is None
    assert host().name == "shop"
