"""The servers that are compared: started on free ports of the loopback, stopped at the end."""

import os
import re
import shutil
import signal
import socket
import subprocess
import time

PATIENCE_SECONDS = 60


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Server:
    """One or more processes that answer together at one address."""

    def __init__(self, name, processes, address, path="/docs/"):
        self.name = name
        self.processes = processes
        self.address = address
        self.path = path
        self.ready_line = ""

    @property
    def url(self):
        return "http://%s:%d" % self.address

    def cpu_seconds(self):
        """User and system time of all its processes and their children, from /proc."""
        return sum(_cpu_ticks(pid) for pid in self._pids()) / os.sysconf("SC_CLK_TCK")

    def anonymous_bytes(self):
        """Its anonymous resident memory."""
        total = 0
        for pid in self._pids():
            with open(f"/proc/{pid}/status", encoding="ascii") as status:
                found = re.search(r"RssAnon:\s+(\d+) kB", status.read())
            total += int(found.group(1)) * 1024
        return total

    def is_alive(self):
        return all(process.poll() is None for process in self.processes)

    def stop(self, how=signal.SIGTERM):
        for process in reversed(self.processes):
            if process.poll() is None:
                process.send_signal(how)
        for process in self.processes:
            try:
                process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _pids(self):
        for process in self.processes:
            yield process.pid
            with open(f"/proc/{process.pid}/task/{process.pid}/children", encoding="ascii") as children:
                yield from map(int, children.read().split())


def _cpu_ticks(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
        fields = stat.read().rsplit(") ", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def oxdaas(name, binary, directory, fsync, cores):
    """Our server; what it says on standard error is beside its data."""
    command = [binary, "serve", "--listen", "127.0.0.1:0", "--data-dir", directory]
    command += ["--fsync", fsync, "--cores", str(cores)]
    with open(directory + ".stderr", "a", encoding="utf-8") as errors:
        return _announced(name, command, errors)


def floor(binary, cores):
    """The bare epoll responder."""
    return _announced("floor", [binary, "127.0.0.1:0", str(cores)], None)


def _announced(name, command, errors):
    """A server that prints `listening on ADDRESS` when it is ready."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
    line = process.stdout.readline()
    found = re.search(r"listening on ([0-9.]+):(\d+)", line)
    if not found:
        process.kill()
        raise RuntimeError(f"{name} did not start: {line!r}")
    server = Server(name, [process], (found.group(1), int(found.group(2))))
    server.ready_line = line
    return server


def nginx(directory, cores, body):
    """Answers every path with the same document."""
    os.makedirs(directory)
    port = free_port()
    config = os.path.join(directory, "nginx.conf")
    with open(config, "w", encoding="ascii") as out:
        out.write(
            f"daemon off; worker_processes {cores}; pid {directory}/pid; error_log {directory}/error.log crit;\n"
            "events { worker_connections 4096; multi_accept on; }\n"
            "http { access_log off; keepalive_requests 1000000000; default_type application/json;\n"
            f" client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;\n"
            f" fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;\n"
            f" server {{ listen 127.0.0.1:{port} reuseport backlog=4096; location / {{ return 200 '{body}'; }} }} }}\n"
        )
    process = subprocess.Popen(["nginx", "-c", config, "-p", directory], stderr=subprocess.DEVNULL)
    server = Server("nginx, a constant", [process], ("127.0.0.1", port))
    _wait_for_port(server)
    return server


def redis(name, directory, appendfsync):
    """Redis with an append-only file that is never rewritten, so that a restart replays it."""
    os.makedirs(directory, exist_ok=True)
    port = free_port()
    log = os.path.join(directory, f"log-{port}")
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", directory, "--save", ""]
    command += ["--appendonly", "yes", "--appendfsync", appendfsync, "--auto-aof-rewrite-percentage", "0"]
    process = subprocess.Popen(command + ["--logfile", log])
    server = Server(name, [process], ("127.0.0.1", port))
    _wait_for_port(server, lambda: "Ready to accept connections" in _read(log))
    server.log = log
    return server


def webdis(name, directory, redis_server, cores):
    """Redis behind HTTP; its CPU time is that of both."""
    port = free_port()
    config = os.path.join(directory, "webdis.json")
    with open(config, "w", encoding="ascii") as out:
        out.write(
            '{"redis_host":"127.0.0.1","redis_port":%d,"http_host":"127.0.0.1","http_port":%d,'
            '"threads":%d,"pool_size":%d,"daemonize":false,"database":0,"verbosity":0,"logfile":"%s/webdis.log"}'
            % (redis_server.address[1], port, cores, 16, directory)
        )
    process = subprocess.Popen(["webdis", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    server = Server(name, [process], ("127.0.0.1", port), "/GET/")
    _wait_for_port(server)
    server.processes = [*redis_server.processes, process]
    return server


def _read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def _wait_for_port(server, ready=lambda: True):
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        if not server.is_alive():
            break
        try:
            socket.create_connection(server.address, 1).close()
            if ready():
                return
        except OSError:
            pass
        time.sleep(0.02)
    server.stop(signal.SIGKILL)
    raise RuntimeError(f"{server.name} did not start")


def has(*commands):
    return all(shutil.which(command) for command in commands)
