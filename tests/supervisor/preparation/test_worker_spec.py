"""From a build to the child specs of its processes."""

import pytest

from plugin_runtime.protocol import Description, Kind
from supervisor.preparation.manifest import parse_manifest
from supervisor.preparation.worker_spec import (
    BOOTSTRAP,
    Build,
    api_prefix,
    manifest_prefix,
    validator_settings,
    validator_spec,
    variables,
    worker_settings,
    worker_spec,
)
from supervisor.spec import Limits, LivenessPolicy, RestartPolicy, RestartWhen, Timeouts
from tests.fakes.builds import build_of


def plain(root, **keys):
    """A build as it really is."""
    made = build_of(root, **keys)
    return Build(**{name: getattr(made, name) for name in Build.__dataclass_fields__})


def test_a_seed_plugin_runs_in_the_project_an_app_in_its_folder(tmp_path):
    """Seed plugins open files relative to the project; apps to themselves."""
    assert plain(tmp_path).working_directory == tmp_path
    assert plain(tmp_path, app="main:app").working_directory == tmp_path / "plugins" / "hello"


def test_the_bootstrap_is_run_by_path_and_isolated(tmp_path):
    """Nothing of ours is importable in a plugin."""
    command = plain(tmp_path).command
    assert command[1:] == ("-I", "-u", "-X", "utf8", str(BOOTSTRAP))
    assert BOOTSTRAP.is_file()


def test_the_manifest_decides_over_timeouts_limits_and_restarts(tmp_path):
    """Each key arrives where it works."""
    keys = {"start_timeout": 7.0, "stop_timeout": 9.0, "memory_hard_mb": 100.0, "max_requests": 5, "open_files": 64}
    restart, liveness = RestartPolicy(RestartWhen.ON_FAILURE), LivenessPolicy(1, 2, 3)
    spec = worker_spec(plain(tmp_path, **keys), 2, restart, liveness)
    assert (spec.id, spec.name, spec.kind, spec.generation) == ("hello.2", "hello", Kind.WORKER, "abcdef")
    assert spec.timeouts == Timeouts(start=7.0, stop=9.0)
    assert spec.limits == Limits(memory_hard_mb=100.0, max_requests=5, open_files=64)
    assert (spec.restart, spec.liveness) == (restart, liveness)


def test_a_validator_is_tried_once_and_not_watched_for_life(tmp_path):
    """An import may hold up the loop for as long as it likes, up to start_timeout."""
    spec = validator_spec(plain(tmp_path))
    assert (spec.id, spec.kind, spec.restart.when) == ("hello.validator", Kind.VALIDATOR, RestartWhen.NEVER)
    assert spec.liveness is None


def test_settings_of_workers_and_validators(tmp_path):
    """The validator has no link and no prefix, and does not outlive the supervisor that asked."""
    build = plain(tmp_path, app="shop.main:app", path="stripped", start_timeout=7.0)
    worker = worker_settings(build, "/shop", adopt_grace=3.0)
    assert (worker.contract, worker.entry, worker.prefix, worker.path_mode) == (
        "app",
        "shop.main:app",
        "/shop",
        "stripped",
    )
    assert (worker.adopt_grace, worker.validate_only) == (3.0, False)
    assert 0 < worker.lifespan_timeout <= 7.0
    validator = validator_settings(build)
    assert (validator.prefix, validator.adopt_grace, validator.validate_only) == ("", 0.0, True)
    assert worker_settings(plain(tmp_path), "/x", 1.0).entry == "run"


def test_the_manifest_goes_before_the_dotenv_file_and_nothing_before_what_we_set(tmp_path):
    """The order is documented."""
    manifest = parse_manifest("hello", None, {"env": {"A": "manifest"}})
    given = variables(
        {"A": "ours", "B": "ours", "C": "ours"},
        manifest,
        {"A": "dotenv", "B": "dotenv", "XCORE_DATA_DIR": "x"},
        tmp_path,
        tmp_path,
    )
    assert given == {
        "A": "manifest",
        "B": "dotenv",
        "C": "ours",
        "XCORE_RUNTIME": str(tmp_path),
        "XCORE_DATA_DIR": str(tmp_path),
    }


@pytest.mark.parametrize(
    ("keys", "found", "expected", "early"),
    [
        ({}, "", "/app/hello", None),
        ({}, "/app/other", "/app/other", None),
        ({"prefix": "/mine"}, "/app/other", "/mine", "/mine"),
        ({"prefix": ""}, "/app/other", "", ""),
        ({"app": "main:app"}, "", "/hello", "/hello"),
        ({"app": "main:app", "prefix": "/"}, "", "/", "/"),
    ],
)
def test_what_a_plugin_claims(keys, found, expected, early):
    """Manifest, then PLUGIN_INFO, then the default of its contract; ``early``: before its code has run."""
    manifest = parse_manifest("hello", None, keys)
    assert api_prefix(manifest, Description(api_prefix=found)) == expected
    assert manifest_prefix(manifest) == early
