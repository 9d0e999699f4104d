"""The audit log, on both databases."""

from supervisor.store.audit import AuditEntry
from supervisor.store.settings import StoreSettings


def test_entries_come_back_newest_first_and_the_oldest_go(url, scenario):
    """Failed logins can be many; the newest are what counts."""
    with scenario(url, settings=StoreSettings(kept_audit=3)) as (store, run):
        written = [AuditEntry(float(n), "ada", "disable", "hello", "done", {"n": n, "why": ["ü"]}) for n in range(5)]
        for entry in written:
            run(store.audit.audit(entry))
        assert run(store.audit.entries()) == [written[4], written[3], written[2]]
        assert run(store.audit.entries(limit=1)) == [written[4]]
