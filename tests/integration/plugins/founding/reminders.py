"""A task as the founding system had them: a loop that sleeps, and jobs in ``con``."""

import time

from plugins.events.store import EVENTS


def remind():
    print("remember", EVENTS[0]["title"])


def forgotten():
    print("never called by itself")


def service_main(service):
    print(service.name, "began")
    while service.running:
        time.sleep(0.05)


metadata = {
    "title": "Reminders",
    "type": "service",
    "moduleDir": "plugins/events",
    "description": "reminds of events",
    "version": "2.1.0",
    "author": "The founding system",
    "room": "b12",
    "con": [
        {"func": remind, "name": "remind", "interval": "interval", "minutes": 5, "misfire_grace_time": 30},
        {"func": forgotten, "name": "forgotten", "interval": "cron", "cron_params": {"hour": 3}, "activate": False},
    ],
}
