"""What a thousand connections cost that say nothing."""

import os
import socket
import time

import servers

CONNECTIONS = 1000
SETTLE_SECONDS = 1
REQUEST = b"GET /docs/1 HTTP/1.1\r\nHost: h\r\n\r\n"


def measure(bench):
    directory = os.path.join(bench.options.workspace, "idle")
    server = servers.oxdaas("oxdaas", bench.options.binary, directory, "always", bench.cores)
    connections = []
    try:
        ask(server)
        time.sleep(SETTLE_SECONDS)
        before = server.anonymous_bytes()
        connections = [ask(server) for _ in range(CONNECTIONS)]
        time.sleep(SETTLE_SECONDS)
        bench.figures["bytes a connection"] = (server.anonymous_bytes() - before) / CONNECTIONS
        cpu = server.cpu_seconds()
        time.sleep(bench.scale["idle_seconds"])
        bench.figures["idle CPU share"] = (server.cpu_seconds() - cpu) / bench.scale["idle_seconds"]
    finally:
        for connection in connections:
            connection.close()
        server.stop()


def ask(server):
    """A connection that made one request and read its answer."""
    connection = socket.create_connection(server.address)
    connection.sendall(REQUEST)
    if not connection.recv(4096).startswith(b"HTTP/1.1 404"):
        raise RuntimeError("an unknown document is a 404")
    return connection
