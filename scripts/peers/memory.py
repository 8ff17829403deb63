"""Memory for each of many small documents, and how long a restart takes to have them again.

A restart is timed several times, and the median counts: what the kernel still writes of the
load slows the first one down. After the last a few requests are made: allocators give memory
back to the system while they work, not while nobody asks them.
"""

import os
import re
import statistics
import time

import documents
import servers

RESTARTS = 3
SETTLE_ROUNDS = 3
SETTLE_SECONDS = 1.2


def measure(bench):
    count = bench.scale["small"]
    ours(bench, count)
    if bench.can("redis-server"):
        redis(bench, count)


def small(count):
    return ((n, documents.small_document(n)) for n in range(1, count + 1))


def ours(bench, count):
    directory = os.path.join(bench.options.workspace, "memory-oxdaas")
    first = servers.oxdaas("oxdaas", bench.options.binary, directory, "everysec", bench.cores)
    try:
        documents.store_over_http(first.address, small(count))
        bench.figures["oxdaas live"] = first.anonymous_bytes() / count
    finally:
        first.stop()
    seconds = []
    for restart in range(RESTARTS):
        again = servers.oxdaas("oxdaas", bench.options.binary, directory, "everysec", bench.cores)
        try:
            found = re.search(r"(\d+) documents recovered in ([0-9.]+) s", again.ready_line)
            if int(found.group(1)) != count:
                raise RuntimeError(f"{count} documents stored, {again.ready_line}")
            seconds.append(float(found.group(2)))
            if restart == RESTARTS - 1:
                for _ in range(SETTLE_ROUNDS):
                    documents.settle_over_http(again.address)
                    time.sleep(SETTLE_SECONDS)
                bench.figures["oxdaas restarted"] = again.anonymous_bytes() / count
        finally:
            again.stop()
    bench.figures["oxdaas recovery"] = max(statistics.median(seconds), 0.001)


def redis(bench, count):
    directory = os.path.join(bench.options.workspace, "memory-redis")
    first = servers.redis("redis", directory, "everysec")
    try:
        documents.store_over_resp(first.address, small(count))
        bench.figures["redis live"] = first.anonymous_bytes() / count
    finally:
        first.stop()
    seconds = []
    for restart in range(RESTARTS):
        again = servers.redis("redis", directory, "everysec")
        try:
            if restart == RESTARTS - 1:
                time.sleep(SETTLE_ROUNDS * SETTLE_SECONDS)
                bench.figures["redis restarted"] = again.anonymous_bytes() / count
            with open(again.log, encoding="utf-8") as log:
                # Its log has a line for each file that it loads.
                loads = re.findall(r"DB loaded from (?:append only|incr|base) file \S*: ([0-9.]+) seconds", log.read())
            seconds.append(sum(map(float, loads)))
        finally:
            again.stop()
    bench.figures["redis recovery"] = max(statistics.median(seconds), 0.001)
