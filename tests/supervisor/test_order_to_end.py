"""The order that ends a supervisor."""

import asyncio

from supervisor.order_to_end import End, OrderToEnd


def order(*given):
    """What becomes of it when these are said, and how often somebody was in a hurry."""

    async def main():
        hurried = []
        made = OrderToEnd(lambda: hurried.append(True))
        for say in given:
            getattr(made, say)("operator")
        await asyncio.wait_for(made.given(), 1.0)
        return made.end, len(hurried)

    return asyncio.run(main())


def test_the_first_stop_is_in_order_and_every_further_one_hurries():
    """Twice ^C."""
    assert order("stop") == (End.STOP, 0)
    assert order("stop", "stop", "stop") == (End.STOP, 2)


def test_an_upgrade_leaves_everything_running():
    """A second one changes nothing."""
    assert order("upgrade", "upgrade") == (End.UPGRADE, 0)


def test_a_stop_takes_the_place_of_an_upgrade_and_not_the_other_way_round():
    """Who stops a service must not find it running again a moment later."""
    assert order("upgrade", "stop") == (End.STOP, 0)
    assert order("stop", "upgrade") == (End.STOP, 0)
