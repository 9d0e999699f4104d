"""The records of background tasks, on both databases."""

from dataclasses import replace

import pytest

from supervisor.store.tasks import TaskFacts

REPORTS = TaskFacts(
    "reports", "Reports", "service", "plugins/shop", "writes reports", "1.0", "Ada", {"tags": ["ü"], "depth": {"a": 1}}
)


@pytest.fixture
def opened(url, scenario):
    with scenario(url) as (store, run):
        yield store.tasks, run


def test_a_registered_task_is_found_with_all_its_fields_and_is_enabled(opened):
    """Dropping a file is enough to have it run; everything the founding document stored is stored."""
    tasks, run = opened
    registered = run(tasks.register(REPORTS))
    assert run(tasks.get_all()) == [registered]
    assert {name: value for name, value in vars(registered).items() if name not in {"id", "status"}} == vars(REPORTS)
    assert registered.status is True
    assert len(registered.id) == 36


def test_register_never_touches_what_the_operator_decided(opened):
    """A stopped task stays stopped when its code changes; its metadata follow the code."""
    tasks, run = opened
    first = run(tasks.register(REPORTS))
    assert run(tasks.status("reports", enabled=False)) == replace(first, status=False)
    changed = replace(REPORTS, version="2.0", meta_file={})
    assert run(tasks.register(changed)) == replace(first, version="2.0", meta_file={}, status=False)
    assert run(tasks.status("reports", enabled=True)).status is True


@pytest.mark.parametrize("enabled", [False, True])
def test_the_status_of_a_task_that_could_never_be_read_is_kept(opened, enabled):
    """Its file does not even import; stopped means stopped all the same, also once it does."""
    tasks, run = opened
    row = run(tasks.status("broken", enabled=enabled))
    assert (row.module, row.title, row.version, row.meta_file, row.status) == ("broken", "broken", "", {}, enabled)
    mended = run(tasks.register(replace(REPORTS, module="broken")))
    assert (mended.id, mended.title, mended.status) == (row.id, "Reports", enabled)


def test_tasks_are_listed_by_module(opened):
    """In one order on every database."""
    tasks, run = opened
    for module in ("b", "C", "a"):
        run(tasks.register(replace(REPORTS, module=module)))
    assert [row.module for row in run(tasks.get_all())] == ["C", "a", "b"]


def test_text_of_any_length_and_origin_is_stored(opened):
    """Modules are foreign code: no short-string cuts, and what a database cannot hold is replaced, never refused."""
    tasks, run = opened
    long = "ü" * 100_000
    run(tasks.register(replace(REPORTS, description=long, author="NUL\0 and \udc80", meta_file={"k\udc80": "\udc80"})))
    (row,) = run(tasks.get_all())
    assert (row.description, row.author, row.meta_file) == (long, "NUL\ufffd and ?", {"k?": "?"})
