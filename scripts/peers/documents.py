"""The documents of the comparison, and how they get into each server."""

import itertools
import select
import socket

DOCUMENT_BYTES = 100
PIPELINED = 128
CONNECTIONS = 4


def document(number, total_bytes=DOCUMENT_BYTES):
    """The document of an id; post-equal.lua builds the same bytes."""
    head = '{"n":%d,"color":"blue","text":"' % number
    return head + "x" * (total_bytes - len(head) - 2) + '"}'


def small_document(number):
    """32 bytes."""
    head = '{"n":%d,"t":"' % number
    return head + "x" * (30 - len(head)) + '"}'


def store_over_http(address, items):
    """PUTs each (id, document) of items; every answer must be a 2xx."""
    template = "PUT /docs/%d HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
    requests = (template % (key, len(text), text) for key, text in items)
    # Heads of these answers hold no other text like it.
    _pump(address, requests, b"HTTP/1.1 2")


def settle_over_http(address):
    """Makes a few requests for the sake of it."""
    requests = (f"GET /docs/{n} HTTP/1.1\r\nHost: h\r\n\r\n" for n in range(1, 1001))
    _pump(address, requests, b"HTTP/1.1 2")


def store_over_resp(address, items):
    """SETs each (id, document) of items in Redis."""
    template = "*3\r\n$3\r\nSET\r\n$%d\r\n%d\r\n$%d\r\n%s\r\n"
    requests = (template % (len(str(key)), key, len(text), text) for key, text in items)
    _pump(address, requests, b"+OK\r\n")


def _pump(address, requests, mark):
    """Sends all requests over a few connections and waits for as many marks in the answers."""
    sockets = [socket.create_connection(address) for _ in range(CONNECTIONS)]
    waiting = {sock: 0 for sock in sockets}
    tails = {sock: b"" for sock in sockets}
    more = True
    while more or any(waiting.values()):
        for sock in sockets:
            if more and waiting[sock] == 0:
                batch = list(itertools.islice(requests, PIPELINED))
                more = len(batch) == PIPELINED
                waiting[sock] = len(batch)
                sock.sendall("".join(batch).encode())
        ready, _, _ = select.select([sock for sock in sockets if waiting[sock]], [], [], 30)
        if not ready and any(waiting.values()):
            raise RuntimeError(f"{address} does not answer")
        for sock in ready:
            received = sock.recv(1 << 20)
            if not received:
                raise RuntimeError(f"{address} closed the connection")
            data = tails[sock] + received
            waiting[sock] -= data.count(mark)
            # A mark may be cut; what is kept is too short to hold a whole one.
            tails[sock] = data[-(len(mark) - 1) :]
    for sock in sockets:
        sock.close()
