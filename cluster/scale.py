#!/usr/bin/env python3
"""What a large table and many daemons cost: time and memory, on this machine.

    scale.py [--entries N] [--groups N] [--daemons N] ISINIT

First one daemon with 10,000 entries in 1,000 groups, every entry a process. Then 1,000 daemons at once, each with a
table of three entries, told and asked one after the other over their sockets, as a loop over as many hosts would.
docs/cluster.md has what came of it, and what it means for more hosts than these.
"""

import argparse
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Seconds that anything may take before it has failed.
PATIENCE = 300


def main():
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="isinit-scale-") as directory:
        one_large(options, Path(directory))
        many_small(options, Path(directory))


def arguments():
    parser = argparse.ArgumentParser(description="time and memory of a large table, and of many daemons")
    parser.add_argument("isinit", type=lambda path: Path(path).resolve())
    parser.add_argument("--entries", type=int, default=10_000)
    parser.add_argument("--groups", type=int, default=1_000)
    parser.add_argument("--daemons", type=int, default=1_000)
    return parser.parse_args()


class Daemon:
    """One of isinit, in the foreground: a child of ours, with all that it has started."""

    def __init__(self, isinit, table, path):
        self.socket = f"{path}.s"
        self.began = time.monotonic()
        self.process = subprocess.Popen([isinit, "-c", table, "-s", self.socket, "-d"], cwd=path.parent,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def ready(self):
        """Seconds until it has answered."""
        while True:
            try:
                self.ask(":ping")
                return time.monotonic() - self.began
            except (FileNotFoundError, ConnectionRefusedError):
                if time.monotonic() - self.began > PATIENCE or self.process.poll() is not None:
                    sys.exit("a daemon does not begin")
                time.sleep(0.001)

    def ask(self, request):
        """The answer's lines. Each question is a connection, as each is of `isinit`."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(self.socket)
            client.sendall(request.encode() + b"\n")
            client.shutdown(socket.SHUT_WR)
            lines = client.makefile("rb").read().decode().splitlines()
        if not lines[-1].startswith("ok"):
            sys.exit(f"{request}: {lines[-1]}")
        return lines

    def memory_kb(self):
        """What is its own, and its share of what it shares with others: private and proportional set size."""
        sizes = {"Pss": 0, "Private_Clean": 0, "Private_Dirty": 0}
        for line in Path(f"/proc/{self.process.pid}/smaps_rollup").read_text().splitlines():
            name = line.split(":")[0]
            if name in sizes:
                sizes[name] += int(line.split()[1])
        return sizes["Private_Clean"] + sizes["Private_Dirty"], sizes["Pss"]

    def end(self):
        self.ask(":stopall wait")
        self.process.wait()


def one_large(options, directory):
    table = directory / "large"
    each = options.entries // options.groups
    table.write_text("".join(f"group-{group:04}:entry-{group:04}-{entry}:run,:respawn:sleep 1000000\n"
                             for group in range(options.groups) for entry in range(each)))
    print(f"one table: {options.groups * each} entries in {options.groups} groups, {table.stat().st_size} bytes")
    began = time.monotonic()
    subprocess.run([options.isinit, "check", "--digest", table], check=True, stdout=subprocess.DEVNULL)
    show("check --digest", time.monotonic() - began)
    daemon = Daemon(options.isinit, table, directory / "large-daemon")
    show("from its start to its first answer", daemon.ready())
    print(f"  {'memory, nothing started':44} {daemon.memory_kb()[0]:8} kB of its own")
    began = time.monotonic()
    for group in range(options.groups):
        daemon.ask(f":tell group-{group:04} run wait")
    show(f"all {options.groups} groups to run, one after the other", time.monotonic() - began)
    print(f"  {f'memory, {options.groups * each} processes running':44} {daemon.memory_kb()[0]:8} kB of its own")
    some = min(options.groups, 200)
    step = options.groups // some
    timed("one tell that changes nothing", some, lambda n: daemon.ask(f":tell group-{n * step:04} run wait"))
    timed("status of one group", some, lambda n: daemon.ask(f":status group-{n * step:04}"))
    began = time.monotonic()
    size = sum(len(line) + 1 for line in daemon.ask(":status"))
    show(f"status of all, {size} bytes", time.monotonic() - began)
    for option in ("--json", "--prometheus"):
        began = time.monotonic()
        text = subprocess.run([options.isinit, "-s", daemon.socket, "status", option], check=True, capture_output=True)
        show(f"isinit status {option}, {len(text.stdout)} bytes", time.monotonic() - began)
    with open(table, "a") as more:
        more.write("group-0000:one-more:run,:off:true\n")
    began = time.monotonic()
    daemon.ask(":reread")
    show("read again, with one line more", time.monotonic() - began)
    began = time.monotonic()
    daemon.end()
    show("everything stopped, and the daemon ended", time.monotonic() - began)


def many_small(options, directory):
    table = directory / "small"
    table.write_text("web:www:run,:respawn:sleep 1000000\nweb:ask:run,:test:true\ndb:db:run,:respawn:sleep 1000000\n")
    print(f"{options.daemons} daemons at once, each with 3 entries in 2 groups")
    began = time.monotonic()
    daemons = [Daemon(options.isinit, table, directory / f"daemon-{number}") for number in range(options.daemons)]
    for daemon in daemons:
        daemon.ready()
    show("until all have answered", time.monotonic() - began)
    sizes = [daemon.memory_kb() for daemon in daemons]
    print(f"  {'memory of each: its own, and with its share':44} {statistics.median(size[0] for size in sizes):8} kB,"
          f" {statistics.median(size[1] for size in sizes)} kB")
    print(f"  {'memory of all':44} {sum(size[1] for size in sizes) / 1024:8.0f} MiB")
    every = options.daemons
    timed("tell of web, with its test, and the verdict", every, lambda n: daemons[n].ask(":tell web run wait"))
    timed("digest and state of all groups", every, lambda n: daemons[n].ask(":status"))
    digests = {daemon.ask(":status")[0].split(" digest=")[1].split()[0] for daemon in daemons}
    print(f"  {'different digests':44} {len(digests):8}")
    ticks = sum(cpu_ticks(daemon.process.pid) for daemon in daemons)
    time.sleep(10)
    ticks = sum(cpu_ticks(daemon.process.pid) for daemon in daemons) - ticks
    print(f"  {'processor time of all in 10 s of rest':44} {1000 * ticks // os.sysconf('SC_CLK_TCK'):8} ms")
    timed("stop of web, and the verdict", every, lambda n: daemons[n].ask(":tell web 0 wait"))
    began = time.monotonic()
    for daemon in daemons:
        daemon.process.send_signal(signal.SIGTERM)
    for daemon in daemons:
        daemon.process.wait()
    show("all ended", time.monotonic() - began)


def cpu_ticks(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def show(what, seconds):
    print(f"  {what:44} {seconds * 1000:8.1f} ms", flush=True)


def timed(what, times, ask):
    """One after the other: all together, and what one of them takes."""
    took = []
    for number in range(times):
        began = time.monotonic()
        ask(number)
        took.append((time.monotonic() - began) * 1000)
    took.sort()
    print(f"  {what:44} {sum(took):8.1f} ms for {times}: median {statistics.median(took):.2f}, "
          f"99 of 100 below {took[len(took) * 99 // 100]:.2f}", flush=True)


if __name__ == "__main__":
    main()
