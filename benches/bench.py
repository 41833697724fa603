#!/usr/bin/env python3
"""make bench: isinit, its peers and bare loops in C side by side, in one run, one after the other again and again.

What is measured is the same work done by each: so many services started, a service that ends and is started again, and so
on; bare.c does it without being a supervisor. Medians, and ratios to the fastest bare loop of one process, are
printed, written to benches/results.json, and drawn to benches/results.svg.

Each contender is process 1 of a PID namespace of its own, with a mount namespace in which /run is empty, and /etc is
the peer's where it wants an inittab. The peers are Debian's packages, unpacked under target/, and not installed.

    bench.py [--rounds N] [--most N] [--idle SECONDS] [--keep] ISINIT
"""

import argparse
import contextlib
import ctypes
import json
import math
import mmap
import os
import pathlib
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time

from boot import boot

HERE = pathlib.Path(__file__).resolve().parent
ROUNDS_MAX = 16384  # as in board.h
BOARD_BYTES = 32 + 16 * ROUNDS_MAX
PATIENCE_S = 60

# Name, Debian's packages, and how many services it is asked to start at most: some take minutes for more.
PEERS = {
    "busybox init": (["busybox-static"], 5000),
    "sysvinit": (["sysvinit-core", "libselinux1"], 5000),
    "runit": (["runit"], 1000),
    "s6": (["s6", "libs6-2.11", "libskarnet2.13", "execline", "libexecline2.9"], 1000),
    "supervisord": (["supervisor", "python3-pkg-resources"], 100),
}
ENTRYPOINTS = {
    "tini-static": (["tini"], ["usr/bin/tini-static", "--"]),
    "dumb-init": (["dumb-init"], ["usr/bin/dumb-init", "--"]),
    "catatonit": (["catatonit"], ["usr/bin/catatonit", "--"]),
}
NOT_MEASURED = {
    "dinit": "not in this Debian",
    "nitro": "not in this Debian",
    "finit": "sets up the machine it finds, and would this one: only its boot is measured, in a virtual machine",
    "systemd": "does not run as process 1 of a bare PID namespace",
}
BARE = ["fork", "vfork", "two"]
# The same with a cgroup for each service, as isinit makes one where it can: not what others are compared with.
IN_CGROUPS = "a cgroup each, fork"


class Bench:
    """The programs, a directory, and what came out."""

    def __init__(self, arguments):
        self.isinit = str(pathlib.Path(arguments.isinit).resolve())
        self.rounds, self.most, self.idle_s = arguments.rounds, arguments.most, arguments.idle
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="isinit-bench-"))
        self.bare = self.compile("bare")
        self.service = self.compile("service")
        self.packages = pathlib.Path(arguments.packages).resolve()
        self.groups = self.make_groups()
        self.results = {"machine": machine(), "not measured": dict(NOT_MEASURED)}

    def compile(self, name):
        program = self.dir / name
        source = HERE / f"{name}.c"
        subprocess.run(["cc", "-O2", "-static", "-o", program, source], check=True)
        return str(program)

    def make_groups(self):
        """A cgroup (v2) for those of the bare loop; None where that cannot be."""
        mounts = [line.split() for line in open("/proc/mounts")]
        places = [pathlib.Path(words[1]) / f"bench-{os.getpid()}" for words in mounts if words[2] == "cgroup2"]
        with contextlib.suppress(OSError, IndexError):
            places[0].mkdir()
            return places[0]
        return None

    def clear_groups(self):
        """Takes away what the last bare loop has made there. Whoever was in it is ended, and perhaps not quite gone."""
        for group in self.groups.iterdir() if self.groups else ():
            if group.is_dir():
                patience = time.monotonic() + PATIENCE_S
                while group.exists() and time.monotonic() < patience:
                    with contextlib.suppress(OSError):
                        group.rmdir()

    def package(self, name):
        """The directory in which a Debian package lies unpacked; None where it cannot be had."""
        place = self.packages / name
        if not place.exists():
            debs = self.packages / "debs"
            debs.mkdir(parents=True, exist_ok=True)
            got = subprocess.run(["apt-get", "-q", "download", name], cwd=debs, capture_output=True, text=True)
            found = sorted(debs.glob(f"{name}_*.deb"))
            if got.returncode != 0 or not found:
                return None
            subprocess.run(["dpkg", "-x", found[-1], place], check=True)
        return place

    def peer(self, name, packages):
        """The first of a peer's packages, if all can be had; LD_LIBRARY_PATH of the others."""
        places = [self.package(package) for package in packages]
        if None in places:
            self.results["not measured"][name] = "its packages cannot be fetched"
            return None, None
        return places[0], ":".join(str(path) for place in places for path in place.glob("**/*-linux-gnu"))


def machine():
    model = [line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    return {"kernel": os.uname().release, "processors": os.cpu_count(), "model": (model or ["?"])[0]}


class Board:
    """The file that the services write; see board.h."""

    def __init__(self, bench):
        self.path = bench.dir / "board"
        self.path.write_bytes(b"\0" * BOARD_BYTES)
        with open(self.path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), BOARD_BYTES)

    def word(self, number):
        return struct.unpack_from("q", self.map, 8 * number)[0]

    begun = property(lambda self: self.word(0))
    started = property(lambda self: self.word(1))
    last = property(lambda self: self.word(2))
    done = property(lambda self: self.word(3))

    def rounds(self, count):
        return [struct.unpack_from("qq", self.map, 32 + 16 * n) for n in range(count)]



class Late(Exception):
    """A contender that does not get there."""


class Namespace:
    """A command as process 1 of a PID namespace; ended with everything in it."""

    SCRIPT = """
        mount -t tmpfs none /run
        [ -z "$ETC" ] || mount --bind "$ETC" /etc
        [ -z "$TOOLS" ] || mount -t overlay overlay -o "lowerdir=$TOOLS:/usr/bin" /usr/bin
        [ -z "$NO_CGROUPS" ] || mount -t tmpfs none /sys/fs/cgroup
        exec "$@"
    """

    def __init__(self, bench, board, command, environment):
        launch = ["sh", "-c", self.SCRIPT, "sh", bench.bare, "launch", board.path, *command]
        unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", *launch]
        self.services = (bench.service, bench.bare)
        self.process = subprocess.Popen(
            unshare, env={**os.environ, **environment}, cwd=bench.dir, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for pid in children(self.process.pid):
            # Who has done its work has perhaps ended meanwhile.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def until(self, holds, what):
        """Waits until something holds that is to come of it."""
        patience = time.monotonic() + PATIENCE_S
        while not holds():
            if self.process.poll() is not None and not holds():
                raise Late(f"{what}: it has ended")
            if time.monotonic() > patience:
                raise Late(f"{what}: not within {PATIENCE_S} s")
            time.sleep(0.002)

    def first(self):
        """Process 1, by its number here."""
        return children(self.process.pid)[0]

    def memory(self):
        """PSS and private kB of everything that is no service."""
        pss = private = 0
        for pid in [self.first(), *descendants(self.first())]:
            try:
                if os.readlink(f"/proc/{pid}/exe") == self.services[0]:
                    continue
                text = open(f"/proc/{pid}/smaps_rollup").read()
            except OSError:
                continue
            field = {line.split(":")[0]: int(line.split()[1]) for line in text.splitlines()[1:]}
            pss += field["Pss"]
            private += field["Private_Clean"] + field["Private_Dirty"]
        return pss, private


    def memory_at_rest(self):
        """The same, when it changes no more: what it keeps, and not what it has needed to get there."""
        before = None
        for _ in range(20):
            now = self.memory()
            if now == before:
                break
            before = now
            time.sleep(0.3)
        return now


def children(pid):
    try:
        return [int(word) for word in open(f"/proc/{pid}/task/{pid}/children").read().split()]
    except OSError:
        return []


def descendants(pid):
    below = children(pid)
    return below + [one for child in below for one in descendants(child)]


# ---- contenders: what each is asked to start, as a command and its environment ----


def command_of(bench, name, count, board):
    """The command that starts `count` services, and its environment; None where it cannot be had."""
    service = f"{bench.service} {board.path}"
    if name == IN_CGROUPS:
        return [bench.bare, "cgroups", str(count), board.path, bench.service, bench.groups], {}
    if name.startswith("bare "):
        return [bench.bare, name.split()[1], str(count), board.path, bench.service], {}
    if name.startswith("isinit"):
        table = bench.dir / "isinittab"
        table.write_text("".join(f"g:s{n}:run:respawn:{service}\n" for n in range(count)))
        return isinit_daemon(bench, table, "run"), no_cgroups(name)
    packages, _most = PEERS[name]
    place, libraries = bench.peer(name, packages)
    if place is None:
        return None
    etc = bench.dir / "etc"
    shutil.rmtree(etc, ignore_errors=True)
    etc.mkdir()
    shutil.copy("/etc/passwd", etc)
    return PREPARE[name](bench, place, etc, service, count, libraries)


def isinit_daemon(bench, table, level):
    socket = bench.dir / "s"
    for left in bench.dir.glob("s*"):
        if left.name in ("s", "s.state"):
            left.unlink()
    return [bench.isinit, "-d", "-c", table, "-s", socket, "g", level]


def no_cgroups(name):
    return {"NO_CGROUPS": "1"} if name.endswith("without cgroups") else {}


def busybox(bench, place, etc, service, count, _libraries):
    # It takes what is the same for one.
    (etc / "inittab").write_text("".join(f"::respawn:{service} {n}\n" for n in range(count)))
    program = bench.dir / "init"
    shutil.copy(place / "bin/busybox", program)
    return [program], {"ETC": str(etc)}


def sysvinit(_bench, place, etc, service, count, libraries):
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    name = lambda n: "".join(digits[n // 36**place % 36] for place in (3, 2, 1, 0))
    lines = (f"{name(n)}:2:respawn:{service}\n" for n in range(count))
    (etc / "inittab").write_text("zzzz:2:initdefault:\n" + "".join(lines))
    return [place / "sbin/init"], {"ETC": str(etc), "LD_LIBRARY_PATH": libraries}


def script_directories(bench, service, count):
    top = bench.dir / "services"
    shutil.rmtree(top, ignore_errors=True)
    for n in range(count):
        (top / f"s{n}").mkdir(parents=True)
        (top / f"s{n}/run").write_text(f"#!/bin/sh\nexec {service}\n")
        (top / f"s{n}/run").chmod(0o755)
    return top


def runit(bench, place, _etc, service, count, _libraries):
    tools = str(place / "usr/bin")
    return [place / "usr/bin/runsvdir", script_directories(bench, service, count)], {"TOOLS": tools}


def s6(bench, place, _etc, service, count, libraries):
    top = script_directories(bench, service, count)
    tools = ":".join(str(bench.package(package) / "usr/bin") for package in ("s6", "execline"))
    environment = {"TOOLS": tools, "LD_LIBRARY_PATH": libraries}
    return [place / "usr/bin/s6-svscan", "-c", str(count + 10), top], environment


def supervisord(bench, place, _etc, service, count, _libraries):
    text = f"[supervisord]\nnodaemon=true\nlogfile=/dev/null\nlogfile_maxbytes=0\npidfile={bench.dir}/pid\nuser=root\n"
    text += "".join(f"[program:s{n}]\ncommand={service}\nstartsecs=0\n" for n in range(count))
    (bench.dir / "supervisord.conf").write_text(text)
    modules = [place, bench.package("python3-pkg-resources")]
    environment = {"PYTHONPATH": ":".join(str(module / "usr/lib/python3/dist-packages") for module in modules)}
    return ["python3", place / "usr/bin/supervisord", "-c", bench.dir / "supervisord.conf"], environment


PREPARE = {"busybox init": busybox, "sysvinit": sysvinit, "runit": runit, "s6": s6, "supervisord": supervisord}


# ---- measures ----


def cold_start(bench):
    """ms from the exec of the supervisor to the last of N services executing; and its memory then."""
    counts = [count for count in (1, 10, 100, 1000, 5000, 10000) if count <= bench.most]
    ours = ["isinit", "isinit without cgroups"]
    table, memory = {}, {}
    for count in counts:
        names = [f"bare {how}" for how in BARE] + [IN_CGROUPS] * (bench.groups is not None) + ours
        names += [name for name, (_, most) in PEERS.items() if count <= most and count not in (1, 10)]
        names += list(PEERS) if count == 1 else []
        for _ in range(bench.rounds if count < 5000 else min(bench.rounds, 3)):
            for name in names:
                one_start(bench, name, count, table, memory)
    times = medians(table)
    show("cold start: ms until the last of N services executes", times, counts, "bare ")
    show_memory(medians(memory), counts)
    bench.results["cold start, ms"] = times
    bench.results["memory, kB (PSS, private)"] = medians(memory)


def one_start(bench, name, count, table, memory):
    board = Board(bench)
    wanted = command_of(bench, name, count, board)
    if wanted is None:
        return
    bench.clear_groups()
    try:
        with Namespace(bench, board, *wanted) as inside:
            inside.until(lambda: board.started >= count, f"{name} with {count}")
            table.setdefault(name, {}).setdefault(count, []).append((board.last - board.begun) / 1e6)
            memory.setdefault(name, {}).setdefault(count, []).append(inside.memory_at_rest())
    except Late as late:
        bench.results["not measured"][name] = str(late)


def respawn(bench):
    """µs from the end of a service to the start of its successor, in a table of so many entries."""
    counts = [count for count in (1, 100, 1000, 10000) if count <= bench.most]
    table, late = {}, {}
    for count in counts:
        for _ in range(bench.rounds):
            for name in ("bare fork", "isinit", "isinit without cgroups"):
                gaps = respawn_gaps(bench, name, count)
                table.setdefault(name, {}).setdefault(count, []).append(statistics.median(gaps))
                late.setdefault(name, {}).setdefault(count, []).append(sorted(gaps)[len(gaps) * 99 // 100])
    times, latest = medians(table), medians(late)
    show("respawn: µs from the end of a service to the start of the next one, median, in a table of N entries", times, counts, "bare ")
    show("respawn: the same, 99 of 100", latest, counts, "bare ")
    bench.results["respawn, µs, median"] = times
    bench.results["respawn, µs, 99 of 100"] = latest


def respawn_gaps(bench, name, count):
    board, rounds = Board(bench), 2000
    command = [bench.bare, "rounds", str(rounds + 1), board.path, bench.service]
    if name != "bare fork":
        tab = bench.dir / "isinittab"
        others = "".join(f"g:o{n}:elsewhere,:respawn:{bench.service}\n" for n in range(count - 1))
        tab.write_text(f"{others}g:r:run,:respawn,limit=no:{bench.service} {board.path} round\n")
        command = isinit_daemon(bench, tab, "run")
    with Namespace(bench, board, command, no_cgroups(name)) as inside:
        inside.until(lambda: board.started > rounds, f"{name}: rounds")
        times = board.rounds(rounds)
    return [(b[0] - a[1]) / 1e3 for a, b in zip(times, times[1:])]


def switch(bench):
    """ms from the tell to the last service started: between two levels of N services, half in common."""
    counts = [count for count in (10, 100, 1000, 10000) if count <= bench.most]
    table = {}
    for count in counts:
        for _ in range(bench.rounds if count < 5000 else min(bench.rounds, 3)):
            for name in ("bare fork", "isinit", "isinit without cgroups"):
                took = one_switch(bench, name, count)
                table.setdefault(name, {}).setdefault(count, []).append(took)
    times = medians(table)
    show("switch: ms until the last of N/2 is stopped and the last of N/2 others executes", times, counts, "bare ")
    bench.results["switch, ms"] = times


def one_switch(bench, name, count):
    board, half = Board(bench), count // 2
    command = [bench.bare, "switch", str(count), str(half), board.path, bench.service]
    if name != "bare fork":
        tab = bench.dir / "isinittab"
        level = lambda n: "a" if n < half else "a,b" if n < count else "b"
        lines = (f"g:s{n}:{level(n)},:respawn:{bench.service} {board.path}\n" for n in range(count + half))
        tab.write_text("".join(lines))
        command = isinit_daemon(bench, tab, "a")
    with Namespace(bench, board, command, no_cgroups(name)) as inside:
        inside.until(lambda: board.started >= count, f"{name}: {count} services")
        time.sleep(0.2)
        if name == "bare fork":
            os.kill(inside.first(), signal.SIGUSR1)
        else:
            tell = [bench.isinit, "-s", bench.dir / "s", "tell", "--wait", "g", "b"]
            subprocess.run([bench.bare, "launch", board.path, *tell], check=True, stdout=subprocess.DEVNULL)
        inside.until(lambda: board.started >= count + half, f"{name}: {half} others")
        return (board.last - board.begun) / 1e6


def orphans(bench):
    """ms until the last of 100,000 orphans, 10,000 at a time, is collected by process 1."""
    count, batch, table = 100_000, 10_000, {}
    for _ in range(min(bench.rounds, 3)):
        for name in ("bare wait", "isinit"):
            board = Board(bench)
            maker = [bench.bare, "orphans", str(board.path), str(count), str(batch)]
            command = [bench.bare, "reap", board.path, *maker]
            if name == "isinit":
                tab = bench.dir / "isinittab"
                tab.write_text(f"g:o:run:once:{' '.join(maker)}\n")
                command = isinit_daemon(bench, tab, "run")
            with Namespace(bench, board, command, {}) as inside:
                inside.until(lambda: board.done > 0, f"{name}: orphans")
                table.setdefault(name, []).append((board.done - board.begun) / 1e6)
    result = {name: statistics.median(runs) for name, runs in table.items()}
    print(f"\norphans: ms until {count} of them are collected")
    for name, took in result.items():
        print(f"  {name:<26}{took:>10.1f}{took / result['bare wait']:>10.2f}")
    bench.results["orphans, ms"] = result


def entrypoint(bench):
    """µs that an entrypoint adds to a command that does nothing: by the clock, and of processor time."""
    commands = {"bare": [], "isinit run": [bench.isinit, "run", "--"]}
    for name, (packages, words) in ENTRYPOINTS.items():
        place, _ = bench.peer(name, packages)
        if place is not None:
            commands[name] = [str(place / words[0]), *words[1:]]
    table = {}
    for _ in range(bench.rounds):
        for name, words in commands.items():
            table.setdefault(name, []).append(command_costs(bench, [*words, bench.bare, "nothing"]))
    result = {name: tuple(statistics.median(column) for column in zip(*runs)) for name, runs in table.items()}
    print("\nentrypoint: µs of a command that does nothing, and what the entrypoint adds; by the clock, of processor time")
    bare = result["bare"]
    for name, (took, cpu) in result.items():
        print(f"  {name:<26}{took:>10.1f}{took - bare[0]:>10.1f}{cpu:>10.1f}{cpu - bare[1]:>10.1f}")
    bench.results["entrypoint, µs (clock, processor)"] = result


def command_costs(bench, command, times=200):
    """The median time of a command in µs, and the mean of its processor time with what it has waited for."""
    output = subprocess.run([bench.bare, "times", str(times), *command], check=True, capture_output=True, text=True)
    lines = [line.split() for line in output.stdout.splitlines() if line.startswith("took ")]
    return statistics.median(int(line[1]) for line in lines) / 1e3, statistics.mean(int(line[2]) for line in lines)


def command_us(bench, command, times=200):
    return command_costs(bench, command, times)[0]


def control(bench):
    """µs of a status and a tell: as a command, and on a connection that is open."""
    counts = [count for count in (1, 10, 100, 1000, 10000) if count <= bench.most]
    result = {}
    for count in counts:
        board, tab = Board(bench), bench.dir / "isinittab"
        # Ten entries in each group, of which the first is asked for; nothing runs in the others.
        lines = (f"{'g' if n < 10 else f'g{n // 10}'}:t{n}:run:once:{bench.bare} nothing\n" for n in range(count))
        tab.write_text("".join(lines))
        socket = bench.dir / "s"
        with Namespace(bench, board, isinit_daemon(bench, tab, "run"), {}) as inside:
            inside.until(socket.exists, "the socket")
            subprocess.run([bench.isinit, "-s", socket, "tell", "--wait", "g", "run"], check=True, capture_output=True)
            empty = command_us(bench, [bench.bare, "nothing"])
            row = {"command of nothing": empty}
            for verb in (["status", "g"], ["tell", "g", "run"]):
                row[f"isinit {verb[0]}"] = command_us(bench, [bench.isinit, "-s", str(socket), *verb])
                request = f":{' '.join(verb)}"
                output = subprocess.run([bench.bare, "ask", socket, request, "500"], check=True, capture_output=True)
                row[request] = statistics.median(int(line) / 1e3 for line in output.stdout.split())
            for name, value in row.items():
                result.setdefault(name, {})[count] = value
    show("control: µs, with N entries", result, counts)
    bench.results["control, µs"] = result


def table(bench):
    """µs for a table that is read and checked."""
    counts, result = [10, 100, 1000, 10_000, 100_000], {"isinit check": {}, "bare fields": {}}
    tab = bench.dir / "isinittab"
    line = "group{0}:tag{1}:run,maintenance:respawn,stop-timeout=10,user=nobody:/usr/bin/program{1} -f x\n"
    for count in (1, *counts):
        tab.write_text("".join(line.format(n % 50, n) for n in range(count)))
        check = [bench.isinit, "check", "-c", str(tab)]
        result["isinit check"][count] = min(command_us(bench, check, 10) for _ in range(bench.rounds))
        fields = subprocess.run([bench.bare, "fields", tab], check=True, capture_output=True)
        result["bare fields"][count] = int(fields.stdout) / 1e3
    # What the command takes by itself is not the table's.
    least = result["isinit check"].pop(1)
    del result["bare fields"][1]
    result["isinit, each entry"] = {count: (took - least) / count for count, took in result["isinit check"].items()}
    show("table: µs to read and check N entries; bare C finds four colons in each line", result, counts)
    bench.results["table, µs"] = result


def idle(bench):
    """Wake-ups of a daemon with 1,000 services that has nothing to do."""
    board, count = Board(bench), min(1000, bench.most)
    with Namespace(bench, board, *command_of(bench, "isinit", count, board)) as inside:
        inside.until(lambda: board.started >= count, "services")
        time.sleep(1)
        before = wake_ups(inside.first())
        time.sleep(bench.idle_s)
        result = wake_ups(inside.first()) - before
    print(f"\nidle: {result} wake-ups in {bench.idle_s} s with {count} services")
    bench.results["idle, wake-ups"] = {"seconds": bench.idle_s, "wake-ups": result}


def wake_ups(pid):
    lines = open(f"/proc/{pid}/status").read().splitlines()
    return sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)


def reexec(bench):
    """ms of processor time from SIGSEGV to the next answer, with 1,000 services."""
    board, count, runs = Board(bench), min(1000, bench.most), []
    with Namespace(bench, board, *command_of(bench, "isinit", count, board)) as inside:
        inside.until(lambda: board.started >= count, "services")
        for _ in range(4):
            time.sleep(0.5)
            before = cpu_ns(inside.first())
            os.kill(inside.first(), signal.SIGSEGV)
            ask = [bench.bare, "ask", bench.dir / "s", ":ping", "1"]
            inside.until(lambda: subprocess.run(ask, capture_output=True).returncode == 0, "an answer")
            runs.append((cpu_ns(inside.first()) - before) / 1e6)
    result = statistics.median(runs)
    print(f"\na fault of isinit: {result:.1f} ms of processor time to the next answer, with {count} services")
    bench.results["fault, ms"] = result


def cpu_ns(pid):
    return int(open(f"/proc/{pid}/schedstat").read().split()[0])


# ---- what came out ----


def medians(table):
    def median(runs):
        if isinstance(runs[0], tuple):
            return tuple(statistics.median(column) for column in zip(*runs))
        return statistics.median(runs)

    return {name: {count: median(runs) for count, runs in row.items()} for name, row in table.items()}


def show(title, times, counts, limit=None):
    """A table, with the exponent with which each grows, and where there is a limit with the ratio to it: the fastest bare
    loop of one process."""
    print(f"\n{title}" + ("; ratio to the fastest bare loop" if limit else ""))
    print(f"  {'':<26}" + "".join(f"{count:>16}" for count in counts) + f"{'exponent':>10}")
    loops = [row for name, row in times.items() if limit and name.startswith(limit) and name != "bare two"]
    for name, row in times.items():
        cells = ""
        for count in counts:
            best = min((loop[count] for loop in loops if count in loop), default=None)
            ratio = f"{row[count] / best:>7.2f}" if best and count in row else " " * 7
            cells += f"{row[count]:>9.1f}{ratio}" if count in row else f"{'-':>16}"
        print(f"  {name:<26}{cells}{exponent(row):>10}")


def exponent(row):
    """The slope of a line through the logarithms: of what is no constant any more."""
    points = [(math.log(count), math.log(value)) for count, value in row.items() if count >= 100 and value > 0]
    if len(points) < 2:
        return "-"
    return f"{statistics.linear_regression(*zip(*points)).slope:.2f}"


def show_memory(memory, counts):
    print("\nmemory: kB of all processes of the supervisor, PSS and private, and bytes of PSS for each entry after the first")
    print(f"  {'':<26}" + "".join(f"{count:>16}" for count in counts) + f"{'each':>10}")
    for name, row in memory.items():
        cells = "".join(f"{row[count][0]:>9.0f}{row[count][1]:>7.0f}" if count in row else f"{'-':>16}" for count in counts)
        first, last = min(row), max(row)
        each = (row[last][0] - row[first][0]) * 1024 / max(1, last - first)
        print(f"  {name:<26}{cells}{each:>10.0f}")


def draw(results, path):
    """Two bar charts: cold start and memory, with 1,000 services or the most there are."""
    bars = []
    for key, unit, value in (
        ("cold start, ms", "ms until the last of {} services executes", lambda cell: cell),
        ("memory, kB (PSS, private)", "kB of memory with {} services", lambda cell: cell[0]),
    ):
        table = results[key]
        count = max(count for count in table["isinit"] if count <= 1000)
        rows = sorted((value(row[count]), name) for name, row in table.items() if count in row and name != "bare two")
        bars.append((unit.format(count), rows))
    width, left, line = 760, 190, 22
    height = sum(len(rows) * line + 50 for _, rows in bars)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="13">']
    out.append('<rect width="100%" height="100%" fill="white"/>')
    top = 0
    for title, rows in bars:
        out.append(f'<text x="10" y="{top + 24}" font-weight="bold">{title}</text>')
        longest = rows[-1][0]
        for number, (value, name) in enumerate(rows):
            y = top + 36 + number * line
            color = "#c0392b" if name.startswith("isinit") else "#bbbbbb" if name.startswith("bare") else "#5d7ea8"
            size = max(1.0, value / longest * (width - left - 90))
            out.append(f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{name}</text>')
            out.append(f'<rect x="{left}" y="{y + 2}" width="{size:.1f}" height="{line - 6}" fill="{color}"/>')
            out.append(f'<text x="{left + size + 6:.1f}" y="{y + 14}">{value:,.0f}</text>')
        top += len(rows) * line + 50
    out.append("</svg>\n")
    path.write_text("\n".join(out))


def become_subreaper():
    """What a namespace that is ended leaves for a moment comes to us, and goes with us."""
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("isinit")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--most", type=int, default=10_000, help="services at most")
    parser.add_argument("--idle", type=int, default=60, help="seconds")
    parser.add_argument("--packages", default=HERE.parent / "target/peers")
    parser.add_argument("--only", help="one of the measures")
    parser.add_argument("--keep", action="store_true", help="write results.json and results.svg")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("make bench: namespaces, and the memory of others, are root's; run it as root")
    become_subreaper()
    bench = Bench(arguments)
    measures = [cold_start, respawn, switch, orphans, entrypoint, control, table, idle, reexec, boot]
    try:
        print(f"isinit, {os.stat(bench.isinit).st_size} bytes, on {bench.results['machine']}")
        bench.results["size, bytes"] = os.stat(bench.isinit).st_size
        for measure in measures:
            if arguments.only in (None, measure.__name__):
                measure(bench)
        print()
        for name, why in bench.results["not measured"].items():
            print(f"not measured: {name}: {why}")
    finally:
        shutil.rmtree(bench.dir, ignore_errors=True)
        bench.clear_groups()
        if bench.groups:
            bench.groups.rmdir()
    if arguments.keep:
        (HERE / "results.json").write_text(json.dumps(bench.results, indent=1) + "\n")
        draw(bench.results, HERE / "results.svg")


main()
