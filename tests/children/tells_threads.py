"""A guest with a second thread that tells its threads when asked, and ends when told to: [garbage | dies].

garbage: answers the question with something else; dies: ends in the middle of it.
"""

import os
import socket
import sys
import threading

from plugin_runtime.process_facts import start_ticks
from plugin_runtime.protocol import Hello, Ready, Result, Stop
from plugin_runtime.task_protocol import ListThreads, ThreadFacts, Threads
from plugin_runtime.wire import Decoder, encode

how = sys.argv[1] if len(sys.argv) > 1 else ""
threading.Thread(target=threading.Event().wait, name="helper", daemon=True).start()


def answer():
    if how == "dies":
        os._exit(3)
    if how == "garbage":
        return Result("no threads here")
    threads = [ThreadFacts(t.ident, t.name, t.is_alive(), t.daemon, t.native_id) for t in threading.enumerate()]
    return Threads(threads)


connection = socket.socket(socket.AF_UNIX)
connection.connect(os.environ["XCORE_CONTROL"])
hello = Hello(1, os.environ["XCORE_CHILD"], os.getpid(), start_ticks(), os.environ["XCORE_NONCE"], "3.11.0")
connection.sendall(encode(hello) + encode(Ready()))
decoder = Decoder()
while data := connection.recv(65536):
    for envelope in decoder.feed(data):
        if isinstance(envelope.message, ListThreads):
            connection.sendall(encode(answer(), envelope.id))
        if isinstance(envelope.message, Stop):
            os._exit(0)
