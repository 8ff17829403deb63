#!/usr/bin/env python3
"""Stores many documents in a running OxDaaS, or compares them, over pipelined connections.

    documents.py store-iso-codes ADDR:PORT DIRECTORY
    documents.py compare-iso-codes ADDR:PORT DIRECTORY
    documents.py store-numbers ADDR:PORT COUNT

The first two take every record of every JSON file below DIRECTORY; the last
stores small documents under the ids 1 to COUNT. Each prints what it counted
and fails at the first answer that is not as it must be.
"""

import json
import pathlib
import re
import socket
import sys
import time
from urllib.parse import quote

CONNECTIONS = 4
PIPELINED = 64
TIMEOUT_SECONDS = 30

# A string, whose white space is significant, or white space that is not.
STRING_OR_SPACE = re.compile(r'("(?:[^"\\]|\\.)*")|[ \t\r\n]+')


def compact(text):
    """The JSON text without insignificant white space, otherwise as it is written."""
    return STRING_OR_SPACE.sub(lambda match: match.group(1) or "", text)


def skip_space(text, at):
    while text[at] in " \t\r\n":
        at += 1
    return at


def records(path):
    """The records of a file as (name, text): those of its lists, or the file as one."""
    text = path.read_text(encoding="utf-8")
    top = json.loads(text)
    if not all(isinstance(value, list) for value in top.values()):
        yield path.stem, compact(text)
        return
    if len(top) != 1:
        sys.exit(f"{path}: expected one list of records, found {len(top)}")
    ((key, values),) = top.items()
    decoder = json.JSONDecoder()
    at = text.index("[") + 1
    for _ in values:
        at = skip_space(text, at)
        value, end = decoder.raw_decode(text, at)
        code = next(value[field] for field in ("code", "alpha_4", "alpha_3", "alpha_2") if field in value)
        yield f"{key}:{code}", compact(text[at:end])
        at = skip_space(text, end)
        if text[at] not in ",]":
            sys.exit(f"{path}: expected a comma or the end of the list at character {at}")
        at += 1


def iso_codes(directory):
    """All records below the directory as (name, bytes); no name is there twice."""
    documents = {}
    paths = sorted(pathlib.Path(directory).glob("*.json"))
    for path in paths:
        for name, text in records(path):
            if name in documents:
                sys.exit(f"{path}: {name} is there twice")
            documents[name] = text.encode()
    if len(documents) < 1000:
        sys.exit(f"{directory}: only {len(documents)} records in {len(paths)} files")
    print(f"{len(paths)} files, {len(documents)} records, {sum(map(len, documents.values()))} bytes")
    return documents


class Connection:
    """One keep-alive connection that is read response by response."""

    def __init__(self, address):
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), TIMEOUT_SECONDS)
        self.reader = self.socket.makefile("rb")

    def send(self, requests):
        self.socket.sendall(b"".join(requests))

    def response(self):
        """The status and the body of the next response."""
        line = self.reader.readline()
        if not line:
            sys.exit("the server closed the connection")
        status = int(line.split(b" ", 2)[1])
        length = 0
        while (line := self.reader.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        body = self.reader.read(length)
        if len(body) != length:
            sys.exit("the server closed the connection inside a response")
        return status, body


def request(method, target, body=b""):
    head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n"
    if method == "PUT":
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


def exchange(address, cases):
    """Sends the request of each case and calls its check with status and body.

    A case is (request, check). Batches go to all connections before any answer
    is read, so that the server has all of them in flight.
    """
    connections = [Connection(address) for _ in range(CONNECTIONS)]
    started = time.monotonic()
    turn = CONNECTIONS * PIPELINED
    for start in range(0, len(cases), turn):
        batches = [
            cases[at : at + PIPELINED]
            for at in range(start, min(start + turn, len(cases)), PIPELINED)
        ]
        pairs = list(zip(connections, batches))
        for connection, batch in pairs:
            connection.send([sent for sent, _ in batch])
        for connection, batch in pairs:
            for _, check in batch:
                check(*connection.response())
    return time.monotonic() - started


def expect_stored(name):
    def check(status, body):
        if status not in (200, 201):
            sys.exit(f"PUT {name}: {status} {body.decode(errors='replace')}")

    return check


def expect_body(name, expected):
    def check(status, body):
        if status != 200 or body != expected:
            sys.exit(
                f"GET {name}: {status}\n found {body.decode(errors='replace')}\n"
                f" wanted {expected.decode()}"
            )

    return check


def store(address, documents):
    cases = [
        (request("PUT", "/docs/" + quote(name, safe=""), body), expect_stored(name))
        for name, body in documents.items()
    ]
    seconds = exchange(address, cases)
    print(f"stored {len(cases)} in {seconds:.2f} s")


def compare(address, documents):
    cases = []
    for name, body in documents.items():
        encoded = quote(name, safe="")
        # The names are ASCII codes: JSON writes them as they are.
        envelope = b'{"id":' + json.dumps(name).encode() + b',"data":' + body + b"}"
        cases.append((request("GET", "/docs/" + encoded), expect_body(name, body)))
        cases.append((request("GET", "/api?id=" + encoded), expect_body(name, envelope)))
    seconds = exchange(address, cases)
    print(f"compared {len(documents)} over both faces in {seconds:.2f} s: all equal")


def main(arguments):
    match arguments:
        case ["-h" | "--help"]:
            print(__doc__)
        case ["store-iso-codes", address, directory]:
            store(address, iso_codes(directory))
        case ["compare-iso-codes", address, directory]:
            compare(address, iso_codes(directory))
        case ["store-numbers", address, count]:
            numbers = range(1, int(count) + 1)
            store(address, {str(n): f'{{"n":{n},"color":"blue"}}'.encode() for n in numbers})
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
