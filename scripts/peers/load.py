"""Load: one run of wrk, redis-benchmark or h2load, and what it measured."""

import dataclasses
import os
import re
import subprocess

SCRIPTS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "wrk")


@dataclasses.dataclass
class Run:
    """Times are microseconds; latencies that a tool does not tell are None."""

    rate: float
    cpu_us: float
    p50_us: float = None
    p99_us: float = None
    p999_us: float = None


class Failed(Exception):
    """A run had errors."""


def wrk(server, script, arguments, connections, threads, seconds):
    command = ["wrk", "--threads", str(min(threads, connections)), "--connections", str(connections)]
    command += ["--duration", f"{seconds}s", "--timeout", "10s", "--script", os.path.join(SCRIPTS, script + ".lua")]
    command += [server.url, "--", *map(str, arguments)]
    before = server.cpu_seconds()
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "OXDAAS_WRK_SCRIPTS": SCRIPTS}
    )
    cpu = server.cpu_seconds() - before
    found = re.search(r"^RESULT (.*)$", result.stdout, re.MULTILINE)
    if result.returncode != 0 or not found:
        raise Failed(f"wrk {script} on {server.name}: {result.stdout}{result.stderr}")
    value = {key: int(number) for key, number in (pair.split("=") for pair in found.group(1).split())}
    errors = sum(value[kind] for kind in ("status", "connect", "read", "write", "timeout"))
    if errors or not value["requests"]:
        raise Failed(f"wrk {script} on {server.name}: {value}")
    return Run(
        rate=value["requests"] * 1e6 / value["duration_us"],
        cpu_us=cpu * 1e6 / value["requests"],
        p50_us=value["p50_us"],
        p99_us=value["p99_us"],
    )


def redis_benchmark(server, command, pipelined, keys, requests):
    """SET or GET of random keys with 64 connections over the Redis protocol."""
    arguments = ["redis-benchmark", "-h", server.address[0], "-p", str(server.address[1]), "-c", "64", "--csv"]
    arguments += ["-P", str(pipelined), "-n", str(requests), "-r", str(keys), "-d", "100", "-t", command]
    before = server.cpu_seconds()
    result = subprocess.run(arguments, capture_output=True, text=True, check=False)
    cpu = server.cpu_seconds() - before
    rows = [line.split(",") for line in result.stdout.splitlines() if line.startswith('"')]
    if result.returncode != 0 or len(rows) < 2:
        raise Failed(f"redis-benchmark {command}: {result.stdout}{result.stderr}")
    value = dict(zip((name.strip('"') for name in rows[0]), (field.strip('"') for field in rows[1])))
    return Run(
        rate=float(value["rps"]),
        cpu_us=cpu * 1e6 / requests,
        p50_us=float(value["p50_latency_ms"]) * 1000,
        p99_us=float(value["p99_latency_ms"]) * 1000,
    )


def h2load(server, rate, connections, threads, seconds, workspace, targets=None, body=None):
    """Requests at a fixed rate, whether or not answers come; the latency of each from its log."""
    log = os.path.join(workspace, "h2load.log")
    per_client = max(1, round(rate / connections))
    command = ["h2load", "--h1", "-c", str(connections), "-t", str(threads), "-D", str(seconds)]
    command += ["--warm-up-time", "1", "--rps", str(per_client), "--log-file", log]
    if body is not None:
        command += ["-d", body, "-H", "Content-Type: application/json", server.url + "/docs"]
    else:
        command += ["-i", targets]
    if os.path.exists(log):
        os.remove(log)
    before = server.cpu_seconds()
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    cpu = server.cpu_seconds() - before
    latencies = []
    with open(log, encoding="ascii") as lines:
        for line in lines:
            _, status, latency = line.split()
            if not status.startswith("2"):
                raise Failed(f"h2load on {server.name}: {line}")
            latencies.append(int(latency))
    if result.returncode != 0 or not latencies:
        raise Failed(f"h2load on {server.name}: {result.stdout}{result.stderr}")
    latencies.sort()

    def at(share):
        return latencies[min(len(latencies) - 1, int(len(latencies) * share))]

    # The warm-up second costs CPU and is not logged.
    return Run(
        rate=len(latencies) / seconds,
        cpu_us=cpu * 1e6 / (len(latencies) * (seconds + 1) / seconds),
        p50_us=at(0.5),
        p99_us=at(0.99),
        p999_us=at(0.999),
    )
