"""A service: one process that runs as long as the task is wanted. This one says once a minute how busy the machine is.

``service.wait`` sleeps, and wakes up at once when the service shall end; ``time.sleep`` would be interrupted only when
the time for that is nearly over.
"""

import os
import time
from pathlib import Path

from plugin_runtime.service import Service

SECONDS = 60.0

metadata = {
    "type": "service",
    "moduleDir": "core",
    "title": "Heartbeat",
    "description": "says once a minute how busy the machine is",
    "version": "1.0.0",
    "author": "The xcore developers",
}


def service_main(service: Service) -> None:
    last = Path(os.environ["XCORE_DATA_DIR"]) / "last-beat"
    print(f"{service.name} beats every {SECONDS:g} s")
    try:
        while service.running:
            load, *_ = os.getloadavg()
            print(f"load {load:.2f}")
            last.write_text(f"{time.time():.0f} {load:.2f}\n")
            service.wait(SECONDS)
    finally:
        print(f"ran for {time.time() - service.start_time:.0f} s")  # also when it is stopped
