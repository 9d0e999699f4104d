"""Asks the supervisor at the socket given for one operation, and prints the answer's class and message: SOCKET."""

import socket
import sys

from plugin_runtime.protocol import Call
from plugin_runtime.wire import Decoder, encode

with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(sys.argv[1])
    connection.sendall(encode(Call("ping", {}, "operator"), 1))
    message = Decoder().feed(connection.recv(65536))[0].message
print(type(message).__name__, getattr(message, "status", ""), getattr(message, "message", ""))
