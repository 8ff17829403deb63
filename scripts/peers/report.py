"""The tables, as Markdown."""

import platform
import re

import bars

NAMES = {
    "floor": "bare epoll responder (the floor)",
    "nginx": "nginx, a constant",
    "webdis everysec": "Redis + Webdis, everysec",
    "webdis always": "Redis + Webdis, always",
    "redis everysec": "Redis, everysec",
    "redis always": "Redis, always",
    "oxdaas always": "**OxDaaS, always**",
    "oxdaas everysec": "**OxDaaS, everysec**",
    "oxdaas never": "**OxDaaS, never**",
}


def render(bench, verdicts):
    parts = [machine(bench)]
    if bench.runs:
        parts.append(comparison(bench))
    if bench.open_loop_runs:
        parts.append(open_loop(bench))
    if bench.figures:
        parts.append(figures(bench))
    parts.append(judged(verdicts))
    parts += [f"- {note}" for note in bench.left_out]
    return "\n\n".join(parts) + "\n"


def machine(bench):
    with open("/proc/cpuinfo", encoding="utf-8") as cpuinfo:
        model = re.search(r"model name\s*:\s*(.*)", cpuinfo.read())
    with open("/proc/meminfo", encoding="utf-8") as meminfo:
        kib = int(re.search(r"MemTotal:\s+(\d+)", meminfo.read()).group(1))
    scale = bench.scale
    return (
        f"Machine: {bench.cores} cores of {model.group(1) if model else platform.machine()}, {kib / 2**20:.0f} GiB, "
        f"Linux {platform.release().split('-')[0]}, shared by the servers and the load. "
        f"64 connections unless said otherwise, {scale['documents']:,} documents of {100} bytes, random ids, "
        f"medians of {scale['rounds']} interleaved rounds of {scale['seconds']} s."
    )


def comparison(bench):
    lines = [
        "| workload | server | requests/s | of the floor | p50 ms | p99 ms | CPU us/request | OxDaaS, always: times faster |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    last = None
    for workload, server in bench.runs:
        run = bench.median(workload, server)
        floor = bench.median(workload, "floor")
        ours = bench.median(workload, bars.OURS)
        of_floor = f"{run.rate / floor.rate:.2f}x" if floor else ""
        faster = f"{ours.rate / run.rate:.2f}x" if ours and not server.startswith("oxdaas") else ""
        shown = workload if workload != last else ""
        last = workload
        lines.append(
            f"| {shown} | {NAMES[server]} | {run.rate:,.0f} | {of_floor} | {run.p50_us / 1000:.2f} | "
            f"{run.p99_us / 1000:.2f} | {run.cpu_us:.2f} | {faster} |"
        )
    return "\n".join(lines)


def open_loop(bench):
    lines = [
        "Latency at a fixed rate (h2load --rps, 64 connections), a share of what the closed loop reached:",
        "",
        "| requests | share | asked/s | done/s | p50 ms | p99 ms | p99.9 ms |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for what, share, rate, run in bench.open_loop_runs:
        times = " | ".join(f"{us / 1000:.2f}" for us in (run.p50_us, run.p99_us, run.p999_us))
        lines.append(f"| {what} | {share} % | {rate:,.0f} | {run.rate:,.0f} | {times} |")
    return "\n".join(lines)


def figures(bench):
    lines = [f"| {bench.scale['small']:,} documents of 32 bytes | OxDaaS | Redis |", "|---|---:|---:|"]
    rows = (("live", "RssAnon a document, live", "bytes"), ("restarted", "the same after a restart", "bytes"),
            ("recovery", "recovery", "s"))
    for key, label, unit in rows:
        cells = []
        for server in ("oxdaas", "redis"):
            value = bench.figures.get(f"{server} {key}")
            cells.append("" if value is None else f"{value:.2f} s" if unit == "s" else f"{value:.0f} bytes")
        lines.append(f"| {label} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def judged(verdicts):
    lines = ["| bar | measured | bar | aim | |", "|---|---:|---:|---:|---|"]
    for verdict in verdicts:
        measured = "" if verdict.measured is None else f"{verdict.measured:.2f}{verdict.unit}"
        sign = "at most" if verdict.at_most else "at least"
        lines.append(f"| {verdict.what} | {measured} | {sign} {verdict.bar:g} | {verdict.aim:g} | {verdict.word} |")
    return "\n".join(lines)
