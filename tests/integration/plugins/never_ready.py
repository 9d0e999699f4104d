"""An ASGI app whose start-up blocks the event loop for ever, and a grandchild that waits with it."""

import os
import subprocess
import sys
import time
from pathlib import Path

DATA = Path(os.environ["XCORE_DATA_DIR"])


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(3600)"])
        with (DATA / "grandchildren").open("a") as file:
            file.write(f"{child.pid}\n")
        time.sleep(3600)
