"""What the module of a task says of itself, and where the code of jobs comes from."""

import dataclasses
import importlib
import sys
from pathlib import Path

import pytest

from plugin_runtime import task_module
from plugin_runtime.failure import StartFailedError
from plugin_runtime.job_declaration import CON_KEYS
from plugin_runtime.protocol import MAX_CONTROL_FRAME
from plugin_runtime.task_metadata import REQUIRED_KEYS
from plugin_runtime.task_protocol import JobDeclaration, Overlap
from plugin_runtime.wire import encode
from tests.fakes.guests import make_plugin, make_task, write_files

pytestmark = pytest.mark.usefixtures("restored_imports")

SERVICE = "def service_main(service): ...\n"
WORK = "def cleanup(): ...\n"


def load(tmp_path, code, **settings):
    settings = make_task(tmp_path, code, **settings)
    return task_module.load(settings, task_module.prepare(settings))


def job_of(tmp_path, entry, code="") -> JobDeclaration:
    """The declaration that one entry of con becomes; ``entry``: source text after func and name."""
    code = f'{WORK}{code}\nmetadata["con"] = [{{"func": cleanup, "name": "cleanup", {entry}}}]\n'
    contents = load(tmp_path, code)
    assert contents.description.errors == []
    return contents.description.jobs[0]


def problems(tmp_path, code) -> list[str]:
    errors = load(tmp_path, code).description.errors
    assert all(error.permanent and error.type == "MetadataInvalid" for error in errors)
    assert all(error.message.startswith("cannot load task 'reports': reports.py: ") for error in errors)
    return [f"{error.message}; {error.hint}" for error in errors]


def wrong_entry(tmp_path, entry, code="") -> str:
    """What is said of one entry that is wrong in one way."""
    (problem,) = problems(tmp_path, f'{WORK}{code}\nmetadata["con"] = [{{{entry}}}]\n')
    return problem


# --- metadata ----------------------------------------------------------------------------------------------------


def test_metadata_is_read_whole(tmp_path):
    """The required keys, a title, and everything else as JSON holds it."""
    code = SERVICE + 'metadata.update(title="Monthly reports", colour="blue", tags=("a", 1, None), con=[])\n'
    description = load(tmp_path, code).description
    assert description.errors == []
    assert (description.title, description.type, description.module_dir) == ("Monthly reports", "service", "core")
    assert (description.description, description.version, description.author) == ("a test", "1.2.3", "Ada")
    assert description.meta_file == {"colour": "blue", "tags": ["a", 1, None]}
    assert description.has_service


def test_the_title_is_the_modules_name_by_default(tmp_path):
    assert load(tmp_path, SERVICE).description.title == "reports"


def test_a_module_with_jobs_needs_no_service(tmp_path):
    """It has no process of its own; its jobs have."""
    contents = load(tmp_path, f'{WORK}metadata["con"] = [{{"func": cleanup, "name": "cleanup"}}]\n')
    assert contents.description.errors == []
    assert not contents.description.has_service
    assert list(contents.functions) == ["cleanup"]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (SERVICE + "del metadata", "metadata is missing; write: metadata = {"),
        (SERVICE + "metadata = [1]", "metadata is [1], not a dict"),
        (SERVICE + "del metadata['version']", 'metadata has no \'version\'; write in metadata: "version": "1.0.0"'),
        (SERVICE + "metadata['module_dir'] = metadata.pop('moduleDir')", "rename 'module_dir' to 'moduleDir'"),
        (SERVICE + "metadata['version'] = 1.5", "key 'version' is 1.5, not a str"),
        (SERVICE + "metadata['title'] = 5", 'key \'title\' is 5, not a str; write in metadata: "title": "reports"'),
        (SERVICE + "metadata['when'] = {1, 2}", "key 'when' cannot be stored as JSON: Object of type set"),
        (SERVICE + "metadata['rate'] = float('nan')", "key 'rate' cannot be stored as JSON: Out of range"),
        (SERVICE + "metadata['big'] = 2**70", "key 'big' cannot be stored as JSON: Integer value out of range"),
        (SERVICE + "metadata['bad'] = '\\ud800'", "key 'bad' cannot be stored as JSON"),
        (SERVICE + "metadata['loop'] = metadata", "key 'loop' cannot be stored as JSON: Circular reference"),
        (SERVICE + "metadata[5] = 5", "metadata key 5 is not a str"),
        ("", "it has neither a service nor jobs; write: def service_main"),
        ("metadata['con'] = []", "it has neither a service nor jobs"),
        ("service_main = 5", "service_main is 5, not a function"),
        ("def service_main(): ...", "service_main cannot be called with one argument"),
        (SERVICE + "metadata['con'] = {'func': 5}", "key 'con' is {'func': 5}, not a list of dicts"),
        (SERVICE + "metadata['con'] = ['cleanup']", "con[0] is 'cleanup', not a dict"),
    ],
)
def test_what_is_wrong_with_metadata_is_told_with_what_to_write(tmp_path, code, expected):
    """Nothing is silent, and nobody has to look the key up."""
    (problem,) = problems(tmp_path, code)
    assert expected in problem


def test_everything_that_is_wrong_is_told_at_once(tmp_path):
    """Who corrects one error must not find the next at the next try."""
    code = """
metadata = {"type": 1, "con": [{"name": "a b", "minutes": -1, "colour": 1}, {"func": "x", "overlap": "never"}]}
"""
    told = "\n".join(problems(tmp_path, code))
    for expected in [
        "'type' is 1", "no 'moduleDir'", "no 'description'", "no 'version'", "no 'author'", "con[0] key 'name'",
        "con[0] has no 'func'", "con[0] key 'minutes' is -1", "con[0] has an unknown key 'colour'",
        "con[1] has no 'name'", "con[1] key 'func': the module has no 'x'", "con[1] key 'overlap' is 'never'",
    ]:  # fmt: skip
        assert expected in told
    assert told.count("\n") == 11


@pytest.mark.parametrize("key", ["cron", "jobs", "schedule", "Con"])
@pytest.mark.parametrize("service", ["", SERVICE])
def test_jobs_under_another_key_than_con_are_noticed(tmp_path, key, service):
    """All other keys are the author's own; but these jobs would never run, and nobody would know why."""
    code = f"{service}{WORK}metadata['{key}'] = [{{'func': 'cleanup', 'name': 'cleanup'}}]\n"
    (problem,) = problems(tmp_path, code)
    assert f"metadata has key '{key}' and no jobs in 'con'; did you mean 'con'?" in problem


def test_a_key_of_the_authors_own_is_left_to_them(tmp_path):
    """What does not look like jobs is none, as long as there is something else to run."""
    description = load(tmp_path, SERVICE + "metadata.update(schedule='weekly', jobs=3)\n").description
    assert (description.errors, description.meta_file) == ([], {"schedule": "weekly", "jobs": 3})
    (problem,) = problems(tmp_path, "metadata['schedule'] = 'weekly'\n")
    assert "did you mean 'con'?" in problem


def test_metadata_that_is_too_large_for_a_message_is_an_error(tmp_path):
    """Not the end of the control channel."""
    (problem,) = problems(tmp_path, SERVICE + f"metadata['data'] = 'x' * {MAX_CONTROL_FRAME}\n")
    assert "larger than a message can be" in problem


def test_texts_with_undecodable_bytes_can_be_sent(tmp_path):
    """A name of a file that is not UTF-8 may get into anything that is computed."""
    contents = load(tmp_path, SERVICE + "metadata['author'] = 'A\\udcff'\n")
    assert contents.description.author == "A\\udcff"
    encode(contents.description)


# --- con ---------------------------------------------------------------------------------------------------------


def test_a_job_takes_the_founding_defaults(tmp_path):
    """Every ten minutes, half a minute late at most, skipped while the run before lasts."""
    job = job_of(tmp_path, "")
    interval = {"type": "interval", "seconds": 600.0, "timezone": ""}
    assert job == JobDeclaration("cleanup", "cleanup", interval, misfire_grace_time=30.0)


@pytest.mark.parametrize(
    ("entry", "trigger"),
    [
        ('"minutes": 5', {"type": "interval", "seconds": 300.0}),
        ('"seconds": 0.5', {"type": "interval", "seconds": 0.5}),
        ('"days": 1, "hours": 2, "minutes": 3, "seconds": 4', {"type": "interval", "seconds": 93784.0}),
        ('"interval": "interval", "hours": 1', {"type": "interval", "seconds": 3600.0}),
        ('"interval": None, "minutes": None', {"type": "interval", "seconds": 600.0}),
        (
            '"interval": "cron", "cron_params": {"hour": 3, "minute": "*/10"}',
            {"type": "cron", "cron_params": {"hour": 3, "minute": "*/10"}},
        ),
        ('"interval": "cron", "cron_params": "30 3 * * 1-5"', {"type": "cron", "cron_params": "30 3 * * 1-5"}),
        ('"interval": "cron", "minutes": 10, "cron_params": {"hour": 3}', {"type": "cron", "cron_params": {"hour": 3}}),
        ('"interval": "date", "date": "2030-01-31T03:00:00"', {"type": "date", "date": "2030-01-31T03:00:00"}),
        ('"interval": "date", "date": datetime(2030, 1, 31)', {"type": "date", "date": "2030-01-31T00:00:00"}),
        (
            '"interval": "date", "date": datetime(2030, 1, 31, tzinfo=timezone.utc)',
            {"type": "date", "date": "2030-01-31T00:00:00+00:00"},
        ),
    ],
)
def test_triggers_have_their_wire_form(tmp_path, entry, trigger):
    """What the supervisor's parse_trigger reads."""
    job = job_of(tmp_path, entry, "from datetime import datetime, timezone\n")
    assert job.trigger == {**trigger, "timezone": ""}


def test_all_other_keys_reach_the_declaration(tmp_path):
    entry = """
        "timezone": "Europe/Berlin", "jitter": 5, "timeout": 60, "misfire_grace_time": None, "overlap": "queue",
        "shared": True, "activate": False
    """
    job = job_of(tmp_path, entry, SERVICE)
    assert job.trigger["timezone"] == "Europe/Berlin"
    assert (job.jitter, job.timeout, job.misfire_grace_time) == (5.0, 60.0, None)
    assert (job.overlap, job.shared, job.activate) == (Overlap.QUEUE.value, True, False)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        ("cleanup", "cleanup"),
        ("'cleanup'", "cleanup"),
        ("partial(of, 1)", "of"),
        ("Cleaner()", "Cleaner"),
        ("lambda: None", "<lambda>"),
        ("print", "print"),
    ],
)
def test_a_job_may_be_anything_that_can_be_called_without_arguments(tmp_path, function, name):
    """And has a name for people."""
    code = f"""{WORK}
from functools import partial
def of(x): ...
class Cleaner:
    def __call__(self): ...
metadata["con"] = [{{"func": {function}, "name": "it"}}]
"""
    contents = load(tmp_path, code)
    assert contents.description.errors == []
    assert contents.description.jobs[0].entry == name
    assert callable(contents.functions["it"])


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ('"name": "a"', "con[0] (a) has no 'func'; write: \"func\": cleanup"),
        ('"func": cleanup', "con[0] has no 'name'"),
        ('"func": cleanup, "name": ""', "con[0] key 'name' is ''"),
        ('"func": cleanup, "name": "a/b"', "con[0] key 'name' is 'a/b'"),
        ('"func": "claenup", "name": "a"', "the module has no 'claenup'; did you mean 'cleanup'?"),
        ('"func": "nothing", "name": "a"', "write: def nothing(): ..."),
        (
            '"func": "cleanup()", "name": "a"',
            "is 'cleanup()', a call; write the function alone: \"func\": cleanup",
        ),
        ('"func": cleanup(), "name": "a"', "key 'func' is None; write the function without calling it"),
        ('"func": 5, "name": "a"', "key 'func' is 5, not a function"),
        ('"func": lambda x: x, "name": "a"', "needs arguments, and jobs are called without"),
        ('"func": cleanup, "name": "a", "minute": 5', "unknown key 'minute'; did you mean 'minutes'?"),
        ('"func": cleanup, "name": "a", "Overlap": "skip"', "unknown key 'Overlap'; did you mean 'overlap'?"),
        ('"func": cleanup, "name": "a", "colour": 5', "unknown key 'colour'; known keys are func, name, "),
        ('"func": cleanup, "name": "a", 5: 5', "unknown key 5; known keys are"),
        ('"func": cleanup, "name": "a", "interval": "x"', "key 'interval' is 'x'; write one of interval, cron, date"),
        ('"func": cleanup, "name": "a", "interval": True', "key 'interval' is True; write one of interval, cron, date"),
        (
            '"func": cleanup, "name": "a", "interval": "minutes"',
            'type of the trigger, "interval" or "cron"; write: "minutes": 10',
        ),
        ('"func": cleanup, "name": "a", "interval": 5', "key 'interval' is 5; it is the type of the trigger"),
        ('"func": cleanup, "name": "a", "interval": "2 Hours"', 'write: "hours": 2'),
        ('"func": cleanup, "name": "a", "interval": "Cron"', "did you mean 'cron'?"),
        ('"func": cleanup, "name": "a", "minutes": "5"', "key 'minutes' is '5', not a number from 0 up"),
        ('"func": cleanup, "name": "a", "minutes": True', "key 'minutes' is True"),
        ('"func": cleanup, "name": "a", "minutes": -1', "key 'minutes' is -1"),
        ('"func": cleanup, "name": "a", "minutes": 10**400', "key 'minutes' is 1000"),
        ('"func": cleanup, "name": "a", "seconds": float("nan")', "key 'seconds' is nan"),
        ('"func": cleanup, "name": "a", "seconds": float("inf")', "key 'seconds' is inf"),
        ('"func": cleanup, "name": "a", "minutes": 0', "runs at intervals of no time at all"),
        ('"func": cleanup, "name": "a", "jitter": -1', "key 'jitter' is -1"),
        ('"func": cleanup, "name": "a", "timeout": "1 h"', "key 'timeout' is '1 h'"),
        ('"func": cleanup, "name": "a", "misfire_grace_time": "x"', "key 'misfire_grace_time' is 'x'"),
        ('"func": cleanup, "name": "a", "timezone": 1', "key 'timezone' is 1, not a str"),
        (
            '"func": cleanup, "name": "a", "cron_params": {"hour": 3}',
            "has a 'cron_params', but its trigger is 'interval'",
        ),
        ('"func": cleanup, "name": "a", "date": "2030-01-01"', "has a 'date', but its trigger is 'interval'"),
        ('"func": cleanup, "name": "a", "interval": "cron"', "has no 'cron_params'"),
        ('"func": cleanup, "name": "a", "interval": "cron", "cron_params": {}', "has no 'cron_params'"),
        ('"func": cleanup, "name": "a", "interval": "cron", "cron_params": "* *"', "or five fields"),
        ('"func": cleanup, "name": "a", "interval": "cron", "cron_params": [3]', "key 'cron_params' is [3]"),
        ('"func": cleanup, "name": "a", "interval": "cron", "cron_params": {"hours": 3}', "did you mean 'hour'?"),
        ('"func": cleanup, "name": "a", "interval": "cron", "cron_params": {"hour": 3.5}', "'hour' is 3.5, not an int"),
        ('"func": cleanup, "name": "a", "interval": "cron", "cron_params": {"hour": "\\ud800"}', "not an int or a str"),
        ('"func": cleanup, "name": "a", "interval": "date"', "has no 'date'"),
        ('"func": cleanup, "name": "a", "interval": "date", "date": 5', "key 'date' is 5"),
        ('"func": cleanup, "name": "a", "overlap": "kill"', "did you mean 'kill_old'?"),
        ('"func": cleanup, "name": "a", "activate": 1', "key 'activate' is 1, not True or False"),
        ('"func": cleanup, "name": "a", "shared": True', "no service that it could run in"),
    ],
)
def test_what_is_wrong_with_a_job_is_told_with_what_to_write(tmp_path, entry, expected):
    """A near miss is suggested; a key that means nothing is never passed over."""
    code = SERVICE if '"shared"' not in entry else ""
    assert expected in wrong_entry(tmp_path, entry, code)


def test_a_shared_run_cannot_give_way_to_a_newer_one(tmp_path):
    """Nothing inside a process can be killed; so the declaration is refused, not the first overlap."""
    entry = '"func": cleanup, "name": "a", "shared": True, "overlap": "kill_old"'
    assert "a run inside the service cannot be killed" in wrong_entry(tmp_path, entry, SERVICE)


def test_names_of_jobs_are_unique(tmp_path):
    entry = '{"func": cleanup, "name": "a"}'
    (problem,) = problems(tmp_path, f'{WORK}metadata["con"] = [{entry}, {entry}]\n')
    assert "con[1]: two jobs are named 'a'" in problem


def test_no_key_is_unknown_to_the_declaration(tmp_path):
    """Each key of the table is read: one that is in the table alone would be taken and do nothing."""
    when = ("interval", "days", "hours", "minutes", "seconds", "cron_params", "date", "timezone")
    becomes = {"func": "entry", **dict.fromkeys(when, "trigger")}
    assert {becomes.get(key, key) for key in CON_KEYS} == {field.name for field in dataclasses.fields(JobDeclaration)}
    assert list(REQUIRED_KEYS) == ["type", "moduleDir", "description", "version", "author"]


# --- where code comes from ---------------------------------------------------------------------------------------


def test_the_module_is_read_from_its_copy_under_its_real_name(tmp_path):
    """A save changes nothing for what runs, and whoever reads __file__ finds the file he wrote."""
    settings = make_task(tmp_path, SERVICE + "def fails():\n    raise ValueError('as it was')\n")
    Path(settings.module_file).write_text("this is not Python")
    contents = task_module.load(settings, task_module.prepare(settings))
    module = sys.modules["reports"]
    assert module.__file__ == settings.module_file
    assert module.__name__ == "reports"
    assert contents.service_main is module.service_main
    with pytest.raises(ValueError) as raised:
        module.fails()
    assert raised.traceback[-1].path == Path(settings.module_file)
    assert not list(Path(settings.module_file).parent.glob("__pycache__"))


def test_the_working_directory_is_the_projects(tmp_path):
    """As in the founding system: relative paths in a task mean the project."""
    load(tmp_path, SERVICE)
    assert Path.cwd() == tmp_path / "project"


def test_modules_in_folders_of_the_task_directory_can_be_imported(tmp_path):
    """Helpers that several tasks share; imported from where they lie."""
    write_files(tmp_path / "project/backgroundtask", {"helpers/pdf.py": "PAGES = 3\n"})
    load(tmp_path, SERVICE + "from helpers.pdf import PAGES\n")
    assert sys.modules["reports"].PAGES == 3


def test_no_file_of_the_task_directory_takes_the_place_of_another_module(tmp_path):
    """A task called queue would break whatever needs the standard library's."""
    write_files(tmp_path / "project/backgroundtask", {"colorsys.py": "raise RuntimeError('the wrong one')\n"})
    sys.modules.pop("colorsys", None)
    contents = load(tmp_path, SERVICE + "import colorsys, queue\nassert queue.Queue\n", owner="queue")
    assert contents.description.errors == []
    assert sys.modules["task_queue"].service_main is contents.service_main
    assert "backgroundtask" not in str(importlib.import_module("queue").__file__)


@pytest.mark.parametrize(
    ("code", "kind", "hint", "permanent"),
    [
        ("import nowhere", "ModuleNotFoundError", "add nowhere to the base environment", True),
        ("import cv2", "ModuleNotFoundError", "add opencv-python to the base environment", True),
        ("import plugins.shop", "ModuleNotFoundError", 'write: "moduleDir": "plugins/shop"', True),
        ("import helpers.nothing", "ModuleNotFoundError", "make helpers/nothing.py in the task directory", True),
        ("import json.nothing", "ModuleNotFoundError", "check its version in the base environment", True),
        ("raise ModuleNotFoundError('no', name='supervisor')", "ModuleNotFoundError", "is a package of xcore", True),
        ("def service_main(:", "SyntaxError", "", True),
        ("open('/nowhere')", "FileNotFoundError", "", False),
        ("raise SystemExit(3)", "SystemExit", "", False),
    ],
)
def test_an_import_that_fails_is_told_as_for_plugins(tmp_path, code, kind, hint, permanent):
    """Where, and what to do about it; a syntax error stays until the file changes."""
    write_files(tmp_path / "project/backgroundtask", {"helpers/__init__.py": ""})
    with pytest.raises(StartFailedError) as raised:
        load(tmp_path, code + "\n")
    (failed,) = raised.value.errors
    assert (failed.phase, failed.type, failed.location, failed.permanent) == ("import", kind, "reports.py:3", permanent)
    assert failed.message.startswith("cannot start task 'reports': ")
    assert hint in failed.hint
    assert bool(hint) == bool(failed.hint)
    assert "plugin_runtime" not in failed.traceback
    assert "reports" not in sys.modules


# --- in a plugin -------------------------------------------------------------------------------------------------

ADD_NOWHERE = 'add "nowhere" to dependencies in the plugin\'s pyproject.toml, or run in its folder: poetry add nowhere'


def in_plugin(tmp_path, files, contract="seed", **settings):
    plugin = make_plugin(tmp_path, files, plugin="shop", contract=contract)
    return {
        "plugin": "shop",
        "plugin_folder": plugin.folder,
        "plugin_source": plugin.source,
        "plugin_contract": contract,
        **settings,
    }


def test_a_plugins_task_imports_the_plugin_from_its_generation(tmp_path):
    """moduleDir plugins/<name>: what it works on is the code that is served."""
    extra = in_plugin(tmp_path, {"models.py": "PRICE = 3\n"})
    Path(extra["plugin_folder"], "models.py").write_text("this is not Python")
    load(tmp_path, SERVICE + "from plugins.shop.models import PRICE\n", **extra)
    assert sys.modules["reports"].PRICE == 3


def test_a_plugins_task_is_told_to_add_packages_to_the_plugin(tmp_path):
    with pytest.raises(StartFailedError) as raised:
        load(tmp_path, "import nowhere\n", **in_plugin(tmp_path, {"pyproject.toml": ""}))
    assert raised.value.failed.hint == ADD_NOWHERE


def find(tmp_path, entry, files, contract):
    extra = in_plugin(tmp_path, files, contract, owner="shop", purpose="run", job="cleanup", entry=entry)
    settings = dataclasses.replace(make_task(tmp_path, "", **extra), module_file="", module_copy="")
    return task_module.find_function(settings, task_module.prepare(settings))


JOBS = "import os\n\ndef cleanup():\n    return __name__, os.path.dirname(__file__)\n\nclass Jobs:\n    run = cleanup\n"


@pytest.mark.parametrize(
    ("contract", "entry", "file", "module"),
    [
        ("seed", "jobs:cleanup", "jobs.py", "plugins.shop.jobs"),
        ("seed", "deep.jobs:cleanup", "deep/jobs.py", "plugins.shop.deep.jobs"),
        ("seed", "plugins.shop.jobs:cleanup", "jobs.py", "plugins.shop.jobs"),
        ("app", "jobs:cleanup", "jobs.py", "jobs"),
        ("app", "shop.jobs:cleanup", "shop/jobs.py", "shop.jobs"),
        ("app", "shop.jobs:Jobs.run", "src/shop/jobs.py", "shop.jobs"),
        ("app", "plugins.shop.jobs:cleanup", "jobs.py", "plugins.shop.jobs"),
    ],
)
def test_the_entry_of_a_plugins_job_names_a_module_as_its_app_does(tmp_path, contract, entry, file, module):
    """A run.py plugin's modules are those of its package, an app's are its top-level ones."""
    function = find(tmp_path, entry, {file: JOBS}, contract)
    assert function() == (module, str((tmp_path / "project/plugins/shop" / file).parent))


@pytest.mark.parametrize(
    ("entry", "problem", "hint"),
    [
        ("jobs", "it is not of the form module:attribute", 'write: entry = "jobs:cleanup"'),
        ("nothing:cleanup", "there is no module 'plugins.shop.nothing'", "make nothing.py in the plugin's folder, or"),
        ("jobs:claenup", "jobs has no attribute 'claenup'", "did you mean cleanup?"),
        ("jobs:VERSION", "it is not a function", ""),
        ("jobs:needs", "it needs arguments", ""),
    ],
)
def test_an_entry_that_names_no_function_is_told(tmp_path, entry, problem, hint):
    files = {"jobs.py": "VERSION = 1\ndef cleanup(): ...\ndef needs(x): ...\n"}
    with pytest.raises(StartFailedError) as raised:
        find(tmp_path, entry, files, "seed")
    failed = raised.value.failed
    assert f"cannot load job 'cleanup' of plugin 'shop': entry = {entry!r}: {problem}" in failed.message
    assert hint in failed.hint
    assert failed.permanent


def test_a_plugins_job_that_cannot_be_imported_says_where(tmp_path):
    with pytest.raises(StartFailedError) as raised:
        find(tmp_path, "jobs:cleanup", {"jobs.py": "import nowhere\n", "pyproject.toml": ""}, "seed")
    failed = raised.value.failed
    assert (failed.type, failed.location) == ("ModuleNotFoundError", "jobs.py:1")
    assert failed.hint == ADD_NOWHERE


def test_the_function_of_a_tasks_job_is_found_by_its_name(tmp_path):
    code = f'{WORK}metadata["con"] = [{{"func": cleanup, "name": "tidy"}}]\n'
    settings = make_task(tmp_path, code, purpose="run", job="tidy")
    function = task_module.find_function(settings, task_module.prepare(settings))
    assert function is sys.modules["reports"].cleanup


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        (f'{WORK}metadata["con"] = [{{"func": cleanup, "name": "tidy"}}]\n', "no job 'gone' any more; it has: tidy"),
        ("", "neither a service nor jobs"),
    ],
)
def test_a_run_of_a_job_that_is_gone_says_so(tmp_path, code, problem):
    """The file may have been changed between the decision and the import."""
    settings = make_task(tmp_path, code, purpose="run", job="gone")
    with pytest.raises(StartFailedError, match=problem):
        task_module.find_function(settings, task_module.prepare(settings))
