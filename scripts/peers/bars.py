"""The bars: what is asked of the server, and whether this run met it."""

import dataclasses

OURS = "oxdaas always"
POST = "POST of distinct ids"


@dataclasses.dataclass
class Verdict:
    what: str
    measured: float
    bar: float
    aim: float
    at_most: bool
    unit: str = "x"

    @property
    def word(self):
        if self.measured is None:
            return "not measured"
        if self.reaches(self.aim):
            return "met, and the aim"
        return "met" if self.reaches(self.bar) else "**not met**"

    def reaches(self, limit):
        return self.measured <= limit if self.at_most else self.measured >= limit


def judge(bench):
    """Every bar, in the order of their list."""

    def rate(workload, server=OURS):
        run = bench.median(workload, server)
        return run and run.rate

    def cpu(workload, server=OURS):
        run = bench.median(workload, server)
        return run and run.cpu_us

    figure = bench.figures.get

    def worst(*ratios):
        known = [ratio for ratio in ratios if ratio is not None]
        return max(known) if known else None

    def least(*ratios):
        known = [ratio for ratio in ratios if ratio is not None]
        return min(known) if known else None

    deep = "GET, 16 pipelined"
    idle_share = figure("idle CPU share")
    at_most = [
        ("GET: CPU a request, against the floor", over(cpu("GET"), cpu("GET", "floor")), 1.25, 1.10),
        ("POST of an equal document: CPU a request, against GET", over(cpu("POST of an equal document"), cpu("GET")), 1.3, 1.15),
        ("memory a document of 32 bytes, against Redis, live and restarted (the worse)",
         worst(over(figure("oxdaas live"), figure("redis live")), over(figure("oxdaas restarted"), figure("redis restarted"))), 0.8, 0.6),
    ]
    at_least = [
        ("GET: requests/s, against the floor", over(rate("GET"), rate("GET", "floor")), 0.85, 0.95),
        ("GET: requests/s, against Redis + Webdis", over(rate("GET"), rate("GET", "webdis everysec")), 2.2, 2.7),
        ("GET, 16 pipelined: requests/s, against the floor", over(rate(deep), rate(deep, "floor")), 0.6, 0.8),
        ("GET, 16 pipelined: requests per CPU second, against Redis RESP -P 16",
         over(cpu("RESP GET, 16 pipelined", "redis everysec"), cpu(deep)), 1.0, 1.5),
        ("POST: always against never, 64 connections", over(rate(POST), rate(POST, "oxdaas never")), 0.65, 0.8),
        ("POST: always against never, 256 connections",
         over(rate("POST, 256 connections"), rate("POST, 256 connections", "oxdaas never")), 0.85, 0.95),
        ("POST, always: requests/s, against Redis + Webdis, always", over(rate(POST), rate(POST, "webdis always")), 2, 3),
        ("recovery of those documents, against Redis loading its AOF: times faster", over(figure("redis recovery"), figure("oxdaas recovery")), 4, 8),
        ("multiples of 2^32 against sequential ids, GET and POST (the worse)",
         least(over(rate("GET, multiples of 2^32"), rate("GET")), over(rate("POST, multiples of 2^32"), rate(POST))), 0.9, 1.0),
        ("few hot ids of one core against spread ids: requests/s", over(rate("GET, few hot ids of one core"), rate("GET")), 0.7, 0.85),
    ]
    verdicts = [Verdict(*row, at_most=True) for row in at_most]
    verdicts += [Verdict(*row, at_most=False) for row in at_least]
    share = None if idle_share is None else idle_share * 100
    verdicts.append(Verdict("1,000 idle connections: CPU", share, 0.5, 0.0, at_most=True, unit=" % of a core"))
    kib = None if figure("bytes a connection") is None else figure("bytes a connection") / 1024
    verdicts.append(Verdict("memory an idle connection", kib, 4, 2, at_most=True, unit=" KiB"))
    return verdicts


def over(a, b):
    """a / b, if both are known."""
    return a / b if a is not None and b else None
