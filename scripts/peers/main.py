"""Runs the comparison; called by scripts/bench-peers.sh, which explains it."""

import argparse
import os
import random
import statistics
import sys

import bars
import chart
import documents
import idle
import load
import memory
import placement
import report
import servers

FULL = {"rounds": 3, "seconds": 5, "documents": 100_000, "small": 1_000_000, "resp": 400_000, "idle_seconds": 10}
QUICK = {"rounds": 1, "seconds": 1, "documents": 2_000, "small": 20_000, "resp": 20_000, "idle_seconds": 2}
HOT_IDS = 4
SHARES = (25, 50, 75)


def main():
    options = arguments()
    scale = QUICK if options.quick else FULL
    bench = Bench(options, scale)
    try:
        for part in (bench.load, bench.resp, bench.open_loop, bench.memory, bench.idle):
            if options.only in part.__name__.replace("_", "-"):
                part()
    finally:
        bench.stop()
    text = report.render(bench, bars.judge(bench))
    print(text)
    if options.table:
        with open(options.table, "w", encoding="utf-8") as out:
            out.write(text)
    if bench.runs:
        chart.draw(bench, options.chart)


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--chart", default=os.path.join(os.path.dirname(__file__), "../../benches/peers/chart.svg"))
    parser.add_argument("--table")
    parser.add_argument("--only", default="")
    for name in ("--binary", "--floor", "--workspace"):
        parser.add_argument(name, required=True)
    return parser.parse_args()


class Bench:
    """What runs, and what was measured: medians are asked for at the end."""

    def __init__(self, options, scale):
        self.options = options
        self.scale = scale
        self.cores = len(os.sched_getaffinity(0))
        self.runs = {}
        self.open_loop_runs = []
        self.figures = {}
        self.left_out = []
        self.started = {}
        self.post_runs = 0

    def median(self, workload, server):
        """The run of medians, or None if it was not measured."""
        runs = self.runs.get((workload, server))
        if not runs:
            return None
        middle = {}
        for field in ("rate", "cpu_us", "p50_us", "p99_us"):
            middle[field] = statistics.median(getattr(run, field) for run in runs)
        return load.Run(**middle)

    def server(self, name):
        """The server of that name, started when it is first asked for; None: it cannot be had."""
        if name not in self.started:
            self.started[name] = self.start(name)
        return self.started[name]

    def start(self, name):
        options, directory = self.options, os.path.join(self.options.workspace, name.replace(" ", "-"))
        if name == "floor":
            return servers.floor(options.floor, self.cores)
        if name.startswith("oxdaas"):
            return servers.oxdaas(name, options.binary, directory, name.split()[-1], self.cores)
        if name == "nginx":
            return servers.nginx(directory, self.cores, documents.document(1)) if self.can("nginx") else None
        if name.startswith("redis"):
            return servers.redis(name, directory, name.split()[-1]) if self.can("redis-server") else None
        policy = name.split()[-1]
        redis = self.server(f"redis {policy}")
        if redis is None or not self.can("webdis"):
            return None
        os.makedirs(directory, exist_ok=True)
        return servers.webdis(name, directory, redis, self.cores)

    def can(self, command):
        if servers.has(command):
            return True
        note = f"{command} is not installed: its rows are left out"
        if note not in self.left_out:
            self.left_out.append(note)
        return False

    def stop(self):
        for server in filter(None, reversed(self.started.values())):
            server.stop()

    # The parts.

    def load(self):
        """wrk against everyone, workload by workload."""
        count = self.scale["documents"]
        ours = self.server("oxdaas always")
        say(f"storing {count} documents")
        documents.store_over_http(ours.address, ((n, documents.document(n)) for n in range(1, count + 1)))
        documents.store_over_http(ours.address, ((n << 32, documents.document(n)) for n in range(1, count + 1)))
        if redis := self.server("redis everysec"):
            documents.store_over_resp(redis.address, ((n, documents.document(n)) for n in range(1, count + 1)))
        hot = placement.ids_of_one_core(HOT_IDS, self.cores, count)
        get = [count]
        self.interleave("GET", "get-random", {"floor": get, "nginx": get, "webdis everysec": get, "oxdaas always": get})
        self.interleave("GET, 16 pipelined", "get-pipelined", {"floor": get, "nginx": get, "oxdaas always": get})
        self.interleave("GET, 1 connection", "get-random", {"floor": get, "webdis everysec": get, "oxdaas always": get}, 1)
        self.interleave("GET, multiples of 2^32", "get-random", {"oxdaas always": [count, "/docs/", 1 << 32]})
        self.interleave("GET, few hot ids of one core", "get-listed", {"oxdaas always": hot})
        self.interleave("POST of an equal document", "post-equal", {"oxdaas always": get})
        policies = ("always", "everysec", "never")
        everyone = {f"oxdaas {policy}": None for policy in policies}
        everyone |= {f"webdis {policy}": None for policy in ("always", "everysec")}
        self.interleave("POST of distinct ids", "post-distinct", everyone)
        self.interleave("POST, multiples of 2^32", "post-distinct", {"oxdaas always": 1 << 32})
        both = {"oxdaas always": None, "oxdaas never": None}
        self.interleave("POST, 256 connections", "post-distinct", both, 256)

    def interleave(self, workload, script, who, connections=64):
        """Rounds of one workload; for a POST, who maps to what ids are multiples of."""
        for turn in range(self.scale["rounds"]):
            for name, what in who.items():
                server = self.server(name)
                if server is None:
                    continue
                say(f"{workload}: {name}, round {turn + 1}")
                actual, args = script, what
                if script == "post-distinct":
                    self.post_runs += 1
                    actual = "webdis-set" if name.startswith("webdis") else script
                    args = [self.post_runs, what or 1]
                elif script == "get-random" and len(what) == 1:
                    args = [*what, server.path]
                run = load.wrk(server, actual, args, connections, self.cores, self.scale["seconds"])
                self.runs.setdefault((workload, name), []).append(run)

    def resp(self):
        """redis-benchmark against Redis without HTTP: what its own protocol gives."""
        if not self.can("redis-server") or not self.can("redis-benchmark"):
            return
        keys = self.scale["documents"]
        for _ in range(self.scale["rounds"]):
            for policy in ("everysec", "always"):
                redis = self.server(f"redis {policy}")
                for pipelined in (1, 16):
                    commands = ("set", "get") if policy == "everysec" else ("set",)
                    for command in commands:
                        say(f"RESP: {redis.name}, {command}, {pipelined} pipelined")
                        run = load.redis_benchmark(redis, command, pipelined, keys, self.scale["resp"])
                        what = {"get": "GET", "set": "SET"}[command]
                        label = f"RESP {what}" if pipelined == 1 else f"RESP {what}, 16 pipelined"
                        self.runs.setdefault((label, redis.name), []).append(run)

    def open_loop(self):
        """Latency at fixed rates, as shares of what closed loops reached."""
        if not self.can("h2load"):
            return
        ours = self.server("oxdaas always")
        reads, writes = self.median("GET", ours.name), self.median("POST of distinct ids", ours.name)
        if reads is None or writes is None:
            self.left_out.append("open-loop latencies need the rates of the part 'load': they are left out")
            return
        targets = os.path.join(self.options.workspace, "targets")
        body = os.path.join(self.options.workspace, "body")
        pick = random.Random(1)
        with open(targets, "w", encoding="ascii") as out:
            for _ in range(20_000):
                out.write(f"{ours.url}/docs/{pick.randint(1, self.scale['documents'])}\n")
        with open(body, "w", encoding="ascii") as out:
            out.write('{"color":"blue"}')
        plan = (("GET", reads.rate, {"targets": targets}), ("POST /docs, always", writes.rate, {"body": body}))
        for what, maximum, how in plan:
            for share in SHARES:
                say(f"open loop: {what} at {share} %")
                rate = maximum * share / 100
                seconds = self.scale["seconds"]
                run = load.h2load(ours, rate, 64, self.cores, seconds, self.options.workspace, **how)
                self.open_loop_runs.append((what, share, rate, run))

    def memory(self):
        """A million small documents: memory and recovery, against Redis."""
        say("memory and recovery")
        memory.measure(self)

    def idle(self):
        """A thousand idle connections."""
        say("idle connections")
        idle.measure(self)


def say(text):
    print(text, "...", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        main()
    except (load.Failed, RuntimeError) as error:
        sys.exit(f"bench-peers: {error}")
