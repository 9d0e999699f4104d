"""A guest that does what it is told, one step after the other: STEP...

hello: join the supervisor; ready: say so, ready:documented: and that it makes a schema when asked;
beat:AGE: send one beat, with so old a loop; beats:AGE: go on sending them;
fail:MESSAGE: say that it cannot be imported; unwell:MESSAGE: that it cannot start up;
requests:N: a beat after so many requests; description: what a validator sends;
finished:OUTCOME: the end of a run; obedient: wait for Stop, say that the run has succeeded, and exit 0;
hog:MB: take memory; deaf: ignore Stop and SIGTERM; again: connect a second time, keeping the first connection;
once:FILE: only the first one ever goes on, others serve; print:TEXT: to stderr; exit:CODE; kill: SIGKILL to itself;
leave:CODE: exit when what was said has arrived, as gateways do (where the supervisor writes to one that is gone
already, its last words are lost);
serve: until told to stop; stay: likewise, and connect again, ready, when the connection closes;
wait:FILE: until it is there; pause: for ever.
"""

import faulthandler
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

from plugin_runtime.process_facts import start_ticks
from plugin_runtime.protocol import STACKS_SIGNAL, Beat, Description, Failed, Hello, MakeSchema, Ready, Schema, Stop
from plugin_runtime.task_protocol import RunFinished
from plugin_runtime.wire import Decoder, encode

faulthandler.register(STACKS_SIGNAL)
sockets = []
decoder = Decoder()
deaf = False
memory = []


def connect():
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(os.environ["XCORE_CONTROL"])
    sockets.append(connection)
    say(Hello(1, os.environ["XCORE_CHILD"], os.getpid(), start_ticks(), os.environ["XCORE_NONCE"], "3.11.0"))
    listen_for_one()


def say(message):
    sockets[-1].sendall(encode(message))


def listen_for_one():
    """What came: at least one message, the last one of them."""
    while data := sockets[-1].recv(65536):
        if envelopes := decoder.feed(data):
            return envelopes[-1].message
    sys.exit(1)


def say_finished(outcome):
    exception = "ValueError: no such report" if outcome == "failed" else None
    say(RunFinished(os.environ["XCORE_CHILD"].rpartition(".")[2], outcome, exception))


def go_on_beating(age):
    while True:
        say(Beat(age))
        time.sleep(0.02)


def serve():
    while not isinstance(message := listen_for_one(), Stop) or deaf:
        if isinstance(message, MakeSchema):
            say(Schema(str(os.getpid()), b"{}"))
    os._exit(0)


def stay():
    while True:
        try:
            while data := sockets[-1].recv(65536):  # whole frames: nobody says much to a guest
                if any(isinstance(envelope.message, Stop) for envelope in Decoder().feed(data)) and not deaf:
                    os._exit(0)
        except OSError:
            pass
        while not connected_again():
            time.sleep(0.01)
        say(Ready())


def connected_again():
    try:
        connect()
    except OSError:
        return False
    return True


for step in sys.argv[1:]:
    name, _, argument = step.partition(":")
    if name in {"hello", "again"}:
        connect()
    elif name == "ready":
        say(Ready(has_schema=argument == "documented"))
    elif name == "beat":
        say(Beat(float(argument)))
    elif name == "beats":
        threading.Thread(target=go_on_beating, args=[float(argument)], daemon=True).start()
    elif name == "requests":
        say(Beat(0.0, in_flight=2, requests=int(argument), peak_memory_kb=2048))
    elif name == "fail":
        say(Failed("import", "ImportError", argument, permanent=False))
    elif name == "unwell":
        say(Failed("lifespan", "RuntimeError", argument))
    elif name == "description":
        say(Description(title="Hello", version="1.0"))
    elif name == "finished":
        say_finished(argument)
    elif name == "obedient":
        while not isinstance(listen_for_one(), Stop):
            pass
        say_finished("succeeded")
        os._exit(0)
    elif name == "hog":
        memory.append(b"x" * (int(argument) << 20))
    elif name == "deaf":
        deaf = True
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    elif name == "wait":
        while not Path(argument).exists():
            time.sleep(0.005)
    elif name == "once":
        try:
            Path(argument).touch(exist_ok=False)
        except FileExistsError:
            serve()
    elif name == "print":
        print(argument, file=sys.stderr, flush=True)
    elif name == "leave":
        sockets[-1].shutdown(socket.SHUT_WR)
        while sockets[-1].recv(65536):
            pass
        os._exit(int(argument))
    elif name == "exit":
        os._exit(int(argument))
    elif name == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif name == "serve":
        serve()
    elif name == "stay":
        stay()
    elif name == "pause":
        while True:
            signal.pause()
    else:
        sys.exit(f"no such step: {step}")
