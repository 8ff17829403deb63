"use strict";
// Polls /stats about once a second and shows what changed since; all rates are made here.

const POLL_MS = 1000;
const HISTORY = 120; // points of a line, one a poll
const TIMEOUT_MS = 10000;
const WATCHING = ["/stats", "/metrics", "/healthz", "/readyz", "/dashboard"];
const TOKEN = "oxdaas.token";

const $ = (name) => document.getElementById(name);

function put(name, text) {
  const element = $(name);
  if (element.textContent !== text) element.textContent = text;
}

// ---- Requests -------------------------------------------------------------------------------

class Refused extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

// Answers of the server; what it refuses, or that it does not answer, is thrown.
async function ask(method, path, { headers = {}, body } = {}) {
  const token = sessionStorage.getItem(TOKEN);
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, {
      method, headers, body, cache: "no-store", credentials: "omit", redirect: "error",
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch {
    throw new Refused(0, "no_answer", "The server does not answer.");
  }
  const text = await response.text();
  if (response.ok) return { response, text };
  let problem = {};
  try {
    problem = JSON.parse(text);
  } catch { /* Something between us and the server answered. */ }
  throw new Refused(response.status, problem.error ?? "", problem.message ?? response.statusText);
}

function help(refused) {
  switch (refused.status) {
    case 401: return `The server wants a token that it knows. (${refused.message})`;
    case 403: return `The server does not allow this. (${refused.message})`;
    default: return refused.status ? `${refused.status} ${refused.code}: ${refused.message}` : refused.message;
  }
}

// ---- Numbers --------------------------------------------------------------------------------

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const three = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const tenths = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const some = (number) => (number < 100 ? tenths : whole).format(number);

const counting = (number, noun) => `${whole.format(number)} ${noun}${number === 1 ? "" : "s"}`;

function bytes(number) {
  if (number === null || number === undefined) return "unknown";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (number >= 1024 && unit < units.length - 1) {
    number /= 1024;
    unit += 1;
  }
  return `${some(number)} ${units[unit]}`;
}

function duration(us) {
  if (us === null) return "\u2013";
  if (us < 1000) return `${whole.format(us)} \u00b5s`;
  if (us < 1e6) return `${three.format(us / 1000)} ms`;
  return `${three.format(us / 1e6)} s`;
}

function age(seconds) {
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const at = parts.findIndex(([length]) => seconds >= length);
  if (at < 0) return "0 s";
  const [[length, unit], next] = [parts[at], parts[at + 1]];
  const rest = next ? Math.floor((seconds % length) / next[0]) : 0;
  return `${Math.floor(seconds / length)} ${unit}` + (rest ? ` ${rest} ${next[1]}` : "");
}

// What was counted between two looks at a histogram: a share of it, and how many.
function between(before, now) {
  const old = new Map(before.buckets);
  const added = now.buckets.map(([lower, count]) => [lower, count - (old.get(lower) ?? 0)]);
  const count = added.reduce((sum, [, more]) => sum + more, 0);
  const quantile = (share) => {
    let left = Math.max(1, Math.ceil(count * share));
    for (const [lower, more] of added) {
      left -= more;
      // Buckets are eight a doubling; this one ends where the next begins.
      if (more > 0 && left <= 0) return lower + (lower < 16 ? 1 : 2 ** (Math.floor(Math.log2(lower)) - 3)) - 1;
    }
    return null;
  };
  return { count, p50: quantile(0.5), p99: quantile(0.99) };
}

// ---- Lines ----------------------------------------------------------------------------------

const histories = new Map();

function draw(svg, key, value) {
  const history = histories.get(key) ?? [];
  histories.set(key, history);
  history.push(value ?? 0);
  if (history.length > HISTORY) history.shift();
  const peak = Math.max(...history);
  const top = peak || 1;
  const points = history.map((point, index) => {
    const x = HISTORY - history.length + index + 0.5;
    return `${x},${(31 - (point / top) * 29).toFixed(1)}`;
  });
  if (!svg.firstChild) {
    for (const shape of ["polygon", "polyline"]) {
      svg.append(document.createElementNS("http://www.w3.org/2000/svg", shape));
    }
  }
  const [area, line] = svg.children;
  line.setAttribute("points", points.join(" "));
  area.setAttribute("points", `${HISTORY - history.length + 0.5},32 ${points.join(" ")} ${HISTORY - 0.5},32`);
  return peak;
}

// ---- Figures --------------------------------------------------------------------------------

let last = null;

function counted(stats, is) {
  let sum = 0;
  for (const request of stats.requests) {
    if (!WATCHING.includes(request.path) && is(request)) sum += request.count;
  }
  return sum;
}

function show(stats) {
  const before = last && last.process.pid === stats.process.pid && last.uptime_seconds < stats.uptime_seconds
    ? last : null;
  last = stats;
  const seconds = before ? stats.uptime_seconds - before.uptime_seconds : 1;
  const rate = (of) => (before ? Math.max(0, of(stats) - of(before)) / seconds : 0);

  put("facts", `${location.host}, version ${stats.version}, fsync ${stats.fsync}, up ${age(stats.uptime_seconds)}`);
  setState(stats.ready ? "ready" : stats.log.failed ? "log failed: reads only" : "draining", stats.ready);

  const requests = rate((s) => counted(s, () => true));
  put("requests", some(requests));
  const peak = draw($("requests-line"), "requests", requests);
  const refused = rate((s) => counted(s, ({ status }) => status >= 400 && status < 500));
  const failed = rate((s) => counted(s, ({ status }) => status >= 500));
  put("requests-note", `peak ${some(peak)}, ${some(refused)}/s refused (4xx), ${some(failed)}/s failed (5xx)`);
  timing("read", before?.read_latency, stats.read_latency, "reads", seconds);
  timing("write", before?.write_latency, stats.write_latency, "writes", seconds);
  timing("sync", before?.log.sync_latency, stats.log.sync_latency, "syncs", seconds);

  showCores(stats, before, seconds);

  const { log, connections, journals, process } = stats;
  const written = rate((s) => s.log.appended_bytes);
  const records = rate((s) => s.log.appended);
  put("written", `${bytes(written)}/s, ${some(records)} records/s`);
  const syncs = rate((s) => s.log.sync_latency.count);
  put("syncs", `${some(syncs)}/s` + (syncs ? `, ${some(records / syncs)} records per sync` : ""));
  put("lag", counting(Math.max(0, log.appended - log.durable), "record"));
  put("position", whole.format(log.durable));
  put("live", bytes(log.live_bytes));
  put("held", `${bytes(log.held_bytes)} in ${counting(log.segments, "segment")}`);
  put("free", bytes(log.free_bytes));
  const done = `${counting(log.compaction.installed, "segment")} replaced`;
  put("compaction", (log.compaction.running ? "at work, " : "") + done
    + (log.compaction.failed ? `, ${whole.format(log.compaction.failed)} times failed` : ""));
  put("count", whole.format(stats.documents));
  put("connections", `${whole.format(connections.open)} of ${whole.format(connections.max)}`
    + (connections.turned_away ? `, ${whole.format(connections.turned_away)} turned away` : ""));
  put("memory", `${bytes(process.resident_bytes)}, ${bytes(process.anonymous_bytes)} of it data`);
  put("processor", `${some(rate((s) => s.process.cpu_seconds) * 100)} % of a CPU`);
  const lost = (journals?.events_lost ?? 0) + (journals?.access_lost ?? 0);
  if (lost) notice(`${whole.format(lost)} log lines were lost: they came faster than they could be written.`);
  else notice("");
}

function timing(name, before, now, noun, seconds) {
  const { count, p50, p99 } = between(before ?? now, now);
  put(name, duration(p99));
  draw($(`${name}-line`), name, p99);
  put(`${name}-note`, p50 === null ? `no ${noun}` : `p50 ${duration(p50)}, ${some(count / seconds)} ${noun}/s`);
}

const COLUMNS = ["requests", "line", "forwarded", "served", "busy", "bar", "connections", "documents", "p99"];
const NAMES = {
  requests: "Requests/s", forwarded: "Forwarded/s", served: "Served/s", busy: "Busy",
  connections: "Connections", documents: "Documents", p99: "p99",
};

function rowOf(core, runsLog) {
  const known = $(`core-${core}`);
  if (known) return known;
  const row = $("cores").insertRow();
  row.id = `core-${core}`;
  const head = document.createElement("th");
  head.scope = "row";
  head.textContent = core;
  if (runsLog) {
    const note = document.createElement("small");
    note.textContent = "log";
    note.title = "This core runs the log writer";
    head.append(note);
  }
  row.append(head);
  for (const column of COLUMNS) {
    const cell = row.insertCell();
    cell.id = `core-${core}-${column}`;
    if (NAMES[column]) cell.dataset.name = NAMES[column];
    if (column === "line") {
      const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      for (const [name, value] of [["class", "line"], ["viewBox", "0 0 120 32"], ["preserveAspectRatio", "none"], ["aria-hidden", "true"]]) {
        svg.setAttribute(name, value);
      }
      cell.className = "drawn";
      cell.append(svg);
    } else if (column === "bar") {
      const bar = document.createElement("span");
      bar.className = "bar";
      bar.append(document.createElement("span"));
      cell.className = "drawn gauge";
      cell.append(bar);
    }
  }
  return row;
}

function showCores(stats, before, seconds) {
  const rows = $("cores").rows;
  while (rows.length > stats.cores.length) rows[rows.length - 1].remove();
  for (const core of stats.cores) {
    const old = before?.cores[core.core];
    const rate = (name) => (old ? Math.max(0, core[name] - old[name]) / seconds : 0);
    const own = (s) => counted(s, (request) => request.core === core.core);
    const requests = before ? Math.max(0, own(stats) - own(before)) / seconds : 0;
    const busy = Math.min(1, rate("busy_seconds"));
    rowOf(core.core, core.runs_log);
    const cell = (column) => `core-${core.core}-${column}`;
    put(cell("requests"), some(requests));
    draw($(cell("line")).firstChild, cell("line"), requests);
    put(cell("forwarded"), some(rate("forwarded")));
    put(cell("served"), some(rate("served")));
    put(cell("busy"), `${whole.format(busy * 100)} %`);
    $(cell("bar")).firstChild.firstChild.style.width = `${busy * 100}%`;
    put(cell("connections"), whole.format(core.connections));
    put(cell("documents"), whole.format(core.documents));
    const reads = between(old?.read_latency ?? core.read_latency, core.read_latency).p99;
    const writes = between(old?.write_latency ?? core.write_latency, core.write_latency).p99;
    put(cell("p99"), duration(reads === null && writes === null ? null : Math.max(reads ?? 0, writes ?? 0)));
  }
}

function setState(text, isGood) {
  put("state", text);
  $("state").className = isGood ? "state good" : "state bad";
}

function notice(text, wantsToken = false) {
  put("notice-text", text);
  $("notice-token").hidden = !wantsToken;
  $("notice").hidden = !text;
}

let waiting = null;
let polling = false;

async function poll() {
  clearTimeout(waiting);
  if (polling || document.hidden) return;
  polling = true;
  const began = performance.now();
  try {
    const { text } = await ask("GET", "/stats");
    show(JSON.parse(text));
  } catch (refused) {
    last = null;
    setState(refused.status === 401 ? "token needed" : refused.status === 403 ? "not allowed" : "no figures", false);
    const text = refused instanceof Refused ? help(refused) : `/stats cannot be read: ${refused.message}`;
    notice(text, refused.status === 401 || refused.status === 403);
  }
  polling = false;
  waiting = setTimeout(poll, Math.max(100, POLL_MS - (performance.now() - began)));
}

document.addEventListener("visibilitychange", poll);
