"""The boot of `make bench`: how long an init takes from its exec to its first service, and to its hundredth.

Each contender is the init of an initramfs that a real kernel boots in QEMU. The kernel starts boot.c, which notes the
time, CLOCK_BOOTTIME in nanoseconds, and executes the contender in its place, as process 1. Each service notes when it
comes to its main(). The last one tells all of that to QEMU, and ends the machine.

There is one processor. It is emulated, and its clock is its instructions: `-icount shift=0` has each of them take a
nanosecond, and where all wait (`sleep=off`) the next timer is due at once. So it does not matter what else the host has to
do; but no instruction is dearer than another, and nothing is lost by a cache. Milliseconds are millions of instructions.

Every peer gets what its users write for a hundred services that are to run: the script that mounts what isinit mounts
by itself (finit mounts what it wants by itself), and a line or a directory for each service. Its programs are Debian's,
with Debian's C library; its shell is BusyBox. There is no getty, and nothing else that they would start.
"""

import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.append(str(ROOT / "qemu"))

import image  # noqa: E402
from arch import ARCHES  # noqa: E402
from packages import Kernel, Missing, Packages  # noqa: E402

ARCH = ARCHES["x86_64"]
SERVICES = 100  # as in boot.c
ENDED = 33  # QEMU's exit status when the last service ends the machine
PATIENCE_S = 60
QEMU = ["-icount", "shift=0,sleep=off"]

# As in src/machine/mounts.rs.
MOUNT_ALL = """#!/bin/sh
mount -t proc -o nosuid,noexec,nodev proc /proc
mount -t sysfs -o nosuid,noexec,nodev sysfs /sys
mount -t devtmpfs -o nosuid,mode=0755 devtmpfs /dev
mkdir /dev/pts /dev/shm
mount -t devpts -o nosuid,noexec,gid=5,mode=0620,ptmxmode=0666 devpts /dev/pts
mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs /dev/shm
mount -t tmpfs -o nosuid,nodev,mode=0755 tmpfs /run
mount -t cgroup2 -o nosuid,noexec,nodev cgroup2 /sys/fs/cgroup
"""


class Machine:
    """What the machines of all contenders are made of."""

    def __init__(self, bench):
        self.dir = bench.dir
        self.isinit = pathlib.Path(bench.isinit).read_bytes()
        self.boot = pathlib.Path(bench.compile("boot")).read_bytes()
        self.packages = Packages(ARCH, ROOT / "target/qemu")
        self.kernel = Kernel(self.packages, ARCH.cloud)
        self.box = next(self.packages.unpacked("busybox-static").rglob("bin/busybox")).read_bytes()

    def tree(self):
        """The places that a root has, BusyBox for the scripts, and what measures."""
        tree = image.Tree()
        for name in ("bin", "sbin", "etc", "dev", "proc", "sys", "run", "tmp", "var/log"):
            tree.directory(name)
        tree.link("var/run", "/run")
        tree.file("bin/busybox", self.box, 0o755)
        for name in ("sh", "mount", "mkdir"):
            tree.link(f"bin/{name}", "busybox")
        for name in ("init", "bare", "service"):
            tree.file(name, self.boot, 0o755)
        tree.file("board", b"")
        return tree

    def add(self, tree, package, *paths):
        """Programs and libraries of a Debian package, where it has them."""
        place = self.packages.unpacked(package)
        for pattern in paths:
            found = sorted(place.glob(pattern))
            if not found:
                raise Missing(f"{package} has no {pattern}")
            for file in found:
                path = str(file.relative_to(place))
                if file.is_symlink():
                    tree.link(path, str(file.readlink()))
                else:
                    tree.file(path, file.read_bytes(), file.stat().st_mode & 0o777)

    def add_libraries(self, tree, *packages):
        self.add(tree, "libc6", "lib64/ld-linux-x86-64.so.2", "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
                 "lib/x86_64-linux-gnu/libc.so.6", "lib/x86_64-linux-gnu/libdl.so.2")
        for package in packages:
            self.add(tree, package, "**/*-linux-gnu/lib*.so.*")

    def run(self, tree, command):
        """Boots it. Returns ms to the first service and to the last."""
        initrd, told, console = (self.dir / name for name in ("initrd", "told", "console"))
        initrd.write_bytes(tree.cpio())
        told.write_text("")
        qemu = [*ARCH.qemu, *QEMU, "-nodefaults", "-no-reboot", "-display", "none", "-m", "256",
                "-kernel", self.kernel.image, "-initrd", initrd,
                "-append", f"console={ARCH.console} quiet panic=-1 -- {command}", "-serial", f"file:{console}",
                "-chardev", f"file,id=told,path={told}", "-device", "isa-debugcon,iobase=0xe9,chardev=told",
                "-device", "isa-debug-exit,iobase=0x501,iosize=1"]
        try:
            status = subprocess.run(qemu, timeout=PATIENCE_S, stdin=subprocess.DEVNULL).returncode
        except subprocess.TimeoutExpired:
            status = f"nothing within {PATIENCE_S} s"
        begun, *starts = map(int, told.read_text().split() or [0])
        if status != ENDED or len(starts) != SERVICES:
            raise Missing(f"it does not boot ({status}); its console: {console.read_text(errors='replace')[-500:]}")
        return (min(starts) - begun) / 1e6, (max(starts) - begun) / 1e6


# ---- contenders: each puts its files into a tree, and returns the command that is process 1 ----


def bare(how):
    return lambda machine, tree: f"/bare {how} {SERVICES}"


def isinit(machine, tree):
    tree.file("sbin/init", machine.isinit, 0o755)
    lines = "".join(f"main:s{n}:2:respawn:/service\n" for n in range(SERVICES))
    tree.file("etc/isinittab", f"main:id:2:initdefault:\n{lines}".encode())
    return "/sbin/init"


def busybox(machine, tree):
    tree.link("sbin/init", "/bin/busybox")
    tree.file("etc/init.d/rcS", MOUNT_ALL.encode(), 0o755)
    # It takes what is the same for one.
    lines = "".join(f"::respawn:/service {n}\n" for n in range(SERVICES))
    tree.file("etc/inittab", f"::sysinit:/etc/init.d/rcS\n{lines}".encode())
    return "/sbin/init"


def sysvinit(machine, tree):
    machine.add(tree, "sysvinit-core", "sbin/init")
    machine.add_libraries(tree, "libselinux1", "libpcre2-8-0")
    tree.file("etc/init.d/rcS", MOUNT_ALL.encode(), 0o755)
    lines = "".join(f"s{n}:2:respawn:/service\n" for n in range(SERVICES))
    tree.file("etc/inittab", f"id:2:initdefault:\nsi::sysinit:/etc/init.d/rcS\n{lines}".encode())
    return "/sbin/init"


def runit(machine, tree):
    """Its three stages are scripts; the first mounts, the second is runsvdir as in runit(8)."""
    machine.add(tree, "runit", "sbin/runit", "lib/runit/runit-init", "usr/bin/runsv", "usr/bin/runsvdir")
    # This link is all that is needed of its package runit-init.
    tree.link("sbin/init", "/lib/runit/runit-init")
    machine.add_libraries(tree)
    tree.file("etc/runit/1", MOUNT_ALL.encode(), 0o755)
    path = "/usr/bin:/bin:/usr/sbin:/sbin"
    tree.file("etc/runit/2", f"#!/bin/sh\nexec env - PATH={path} runsvdir -P /etc/service\n".encode(), 0o755)
    tree.file("etc/runit/3", b"#!/bin/sh\n", 0o755)
    tree.link("usr/bin/env", "/bin/busybox")
    for n in range(SERVICES):
        tree.file(f"etc/service/s{n}/run", b"#!/bin/sh\nexec /service\n", 0o755)
    return "/sbin/init"


def finit(machine, tree):
    """It asks the terminal for its size first, and waits for an answer that does not come from a file."""
    machine.add(tree, "finit", "sbin/finit", "lib/finit/*")
    machine.add_libraries(tree, "libite5", "libuev3")
    lines = "".join(f"service [2] :{n} /service {n} -- service {n}\n" for n in range(SERVICES))
    tree.file("etc/finit.conf", f"runlevel 2\n{lines}".encode())
    tree.file("etc/fstab", b"")
    return "/sbin/finit"


# The third limit is that of who gives each service a cgroup, and not what others are compared with.
CONTENDERS = {
    "bare fork": bare("fork"), "bare vfork": bare("vfork"), "a cgroup each, fork": bare("cgroups"), "isinit": isinit,
    "busybox init": busybox, "sysvinit": sysvinit, "runit": runit, "finit": finit,
}


def boot(bench):
    """ms from the exec of init to the first service and to the hundredth, as process 1 of a machine in QEMU."""
    needs = subprocess.run(["sh", ROOT / ".ci/needs", "qemu", ARCH.name], stdout=subprocess.DEVNULL)
    try:
        if needs.returncode != 0:
            raise Missing("without QEMU")
        machine = Machine(bench)
    except Missing as missing:
        bench.results["not measured"]["boot"] = str(missing)
        return
    table = {}
    for _ in range(bench.rounds):
        for name in CONTENDERS:
            one_boot(bench, machine, name, table)
    result = {name: tuple(map(statistics.median, zip(*runs))) for name, runs in table.items()}
    show(result)
    bench.results["boot, ms"] = result


def one_boot(bench, machine, name, table):
    try:
        tree = machine.tree()
        took = machine.run(tree, CONTENDERS[name](machine, tree))
        table.setdefault(name, []).append(took)
    except Missing as missing:
        bench.results["not measured"][f"boot of {name}"] = str(missing)


def show(result):
    limits = [row for name, row in result.items() if name.startswith("bare ")]
    print(f"\nboot: ms from the exec of init to the first service and to the last of {SERVICES}; ratio to the faster bare init")
    for name, row in result.items():
        cells = (f"{took:>12.2f}{took / min(column):>7.2f}" for took, column in zip(row, zip(*limits)))
        print(f"  {name:<26}" + "".join(cells))
