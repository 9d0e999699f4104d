"""Samples, on both databases."""

from dataclasses import replace

from plugin_runtime.views import ResourceView
from supervisor.store.settings import StoreSettings

SAMPLE = ResourceView("worker", "hello", "hello.1", 4711, 12.5, 1.0, 30.0, None, 4, 20, 1000.0)


def test_samples_are_written_and_the_old_ones_go(url, scenario, eventually):
    """History is bounded by age; a sample that was never taken is not stored."""
    with scenario(url, settings=StoreSettings(kept_sample_age=100.0)) as (store, run):
        for sampled in (1000.0, 1050.0, None, 1110.0):
            store.observations.put(replace(SAMPLE, sampled=sampled))
        store.observations.put(replace(SAMPLE, id="other.1", sampled=1110.0))
        run(eventually(lambda: store.observations.waiting == 0, "never written"))
        history = run(store.samples.history("hello.1", since=0.0, until=1110.0))
        assert history == [replace(SAMPLE, sampled=1050.0), replace(SAMPLE, sampled=1110.0)]
        assert run(store.samples.history("hello.1", since=1051.0, until=1109.0)) == []
