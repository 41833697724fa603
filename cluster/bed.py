"""The machinery of the cluster tests: three Debian machines in namespaces of this one, with Corosync and Pacemaker.

Everything lives in one PID namespace, one network namespace and one mount namespace, which end with this program: a
bed that is killed leaves nothing but its cache, a root file system by mmdebstrap under target/cluster.

A node is an overlay of that root, with a PID, network, mount, UTS and IPC namespace of its own, and a leg of a veth
pair in the bridge that stands for the switch. Its PID 1 is isinit, with Corosync and Pacemaker for a table; beside it
runs the daemon that the resource agent starts. To kill a node is to kill its PID 1; what was on its disk stays.
"""

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
NODES = ("n1", "n2", "n3")
PACKAGES = ("pacemaker,corosync,pacemaker-cli-utils,resource-agents,crmsh,iproute2,procps,libxml2-utils,nginx-light,"
            "redis-server,redis-tools,iputils-arping,openssh-server,openssh-client,rsync,csync2,sqlite3,"
            "netcat-openbsd")
NETWORK = "10.77.0"
ADDRESS = f"{NETWORK}.100"
# Seconds that anything may take before the test has failed. The machine may stall; what is there earlier is seen.
PATIENCE = 90
PAUSE = 0.02


class Failed(Exception):
    """What was to happen has not, or something else has."""


def in_namespaces(target):
    """Goes into the namespaces in which all of this lives: does not come back the first time. The root of the nodes is
    made before, for in there is no way to Debian's packages."""
    if os.environ.get("BED") == "inside":
        run("mount", "--make-rprivate", "/")
        return
    if os.getuid() != 0:
        sys.exit("namespaces, mounts and Pacemaker want root")
    try:
        root(target / "cluster")
    except Failed as failed:
        sys.exit(f"no root for the nodes: {failed}")
    os.environ["BED"] = "inside"
    os.execvp("unshare", ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc",
                          sys.executable, *sys.argv])


def run(*command, check=True, timeout=PATIENCE, **more):
    """A command's standard output. If it fails, so do we, with what it said."""
    try:
        done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=timeout, **more)
    except subprocess.TimeoutExpired as late:
        raise Failed(f"{' '.join(map(str, command))} has not ended after {timeout} s: {late.stdout}") from None
    if check and done.returncode != 0:
        raise Failed(f"{' '.join(map(str, command))} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def until(what, look, patience=PATIENCE):
    """Looks until there is something, and gives that."""
    end = time.monotonic() + patience
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            raise Failed(f"waited in vain: {what}")
        time.sleep(PAUSE)


def root(cache):
    """The root of all nodes. Made once for each list of packages; two beds may run at the same time on one cache."""
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return made_root(cache)


def made_root(cache):
    place, said = cache / "root", cache / "packages"
    if place.is_dir() and said.exists() and said.read_text() == PACKAGES:
        return place
    print("making the root of the nodes", flush=True)
    half = cache / "root.half"
    for old in (half, place):
        shutil.rmtree(old, ignore_errors=True)
    run("mmdebstrap", "--variant=minbase", "--mode=root", f"--include={PACKAGES}", "bookworm", half, timeout=900)
    half.rename(place)
    said.write_text(PACKAGES)
    return place


# The node as it begins: its own view of files, then its PID 1. It goes on when its leg of the network is there.
BEGIN = """
set -e
cd "$1"
tries=40
until mount -t overlay overlay -o "lowerdir=$2,upperdir=upper,workdir=work" root 2>/dev/null; do
    tries=$((tries - 1)); [ "$tries" -gt 0 ]; sleep 0.05
done
cd root
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t tmpfs dev dev
mkdir dev/shm dev/pts
for device in null:3 zero:5 full:7 random:8 urandom:9; do mknod -m 666 "dev/${device%:*}" c 1 "${device#*:}"; done
mknod -m 666 dev/tty c 5 0
ln -s /proc/self/fd dev/fd
mount -t tmpfs shm dev/shm
mount -t tmpfs run run
mount -t tmpfs tmp tmp
mount --bind "$3" shared
hostname "$4"
pivot_root . mnt
umount -l /mnt
echo begun
read go
ip link set lo up
ip address add "$5/24" dev eth0
ip link set eth0 up
exec /usr/local/sbin/isinit -c /etc/node.isinittab -s /run/node.s -d node "$6" >>/var/log/node.log 2>&1
"""


class Node:
    """One of the machines."""

    def __init__(self, bed, number):
        self.bed, self.number = bed, number
        self.name = NODES[number - 1]
        self.place = bed.place / self.name
        self.outer = None
        self.pid = 0
        self.lock = threading.RLock()
        for part in ("upper", "work", "root"):
            (self.place / part).mkdir(parents=True)

    def file(self, path):
        """A file of the node, from outside. Before it was started for the first time these are all that it has."""
        return self.place / "upper" / path.lstrip("/")

    def write(self, path, text, mode=0o644):
        if self.pid:
            # An overlay is not changed behind its back while it is mounted.
            path = Path(f"/proc/{self.pid}/root{path}")
        else:
            path = self.file(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def start(self):
        with self.lock:
            command = ["unshare", "--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child=KILL",
                       "sh", "-c", BEGIN, "node", self.place, self.bed.root, self.bed.shared, self.name,
                       f"{NETWORK}.{self.number}", self.bed.level]
            words = self.place / "stderr"
            with open(words, "w") as stderr:
                self.outer = subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                              stderr=stderr)
            if self.outer.stdout.readline() != b"begun\n":
                raise Failed(f"node {self.name} did not begin: {words.read_text()}")
            self.pid = int(Path(f"/proc/{self.outer.pid}/task/{self.outer.pid}/children").read_text().split()[0])
            run("ip", "link", "add", self.name, "type", "veth", "peer", "name", "eth0", "netns", self.pid)
            run("ip", "link", "set", self.name, "master", "bridge", "up")
            self.outer.stdin.write(b"go\n")
            self.outer.stdin.close()

    def kill(self):
        """As by its power switch. When it comes back nothing of it runs any more."""
        with self.lock:
            if not self.pid:
                return
            os.kill(self.pid, signal.SIGKILL)
            self.outer.wait()
            self.bed.ended.append((self.name, time.time()))
            self.outer.stdout.close()
            self.pid = 0
            # The link goes with the namespace, but not at once.
            until(f"the link of {self.name} is gone",
                  lambda: run("ip", "link", "delete", self.name, check=False) is not None
                  and not Path(f"/sys/class/net/{self.name}").exists()
                  and self.name not in run("ip", "-o", "link"))

    def cut(self):
        run("ip", "link", "set", self.name, "down")

    def mend(self):
        with self.lock:
            if self.pid:
                run("ip", "link", "set", self.name, "up")

    def signal_all(self, number):
        """To everything that is in its PID namespace: STOP is what a paused virtual machine or a hung disk does."""
        own = os.readlink(f"/proc/{self.pid}/ns/pid")
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if os.readlink(path / "ns/pid") == own:
                    os.kill(int(path.name), number)
            except OSError:
                pass  # It has just ended.

    def call(self, *command, check=True, timeout=PATIENCE):
        """A command in the node."""
        return run("nsenter", "--target", self.pid, "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wdns=/",
                   "env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root",
                   *command, check=check, timeout=timeout)

    def isinit(self, *words, check=True):
        return self.call("isinit", *words, check=check)

    def pid_of(self, group, tag):
        """The PID of an entry, as the node has it, and how often it was started again."""
        for line in self.isinit("status", group).splitlines():
            words = line.split()
            if words[:1] == [tag] and "pid" in words:
                return int(words[words.index("pid") + 1])
        raise Failed(f"{group}/{tag} does not run on {self.name}")


class Bed:
    """The cluster, and the switch between its nodes."""

    def __init__(self, target, isinit, files=("machine", "service"), level="run"):
        """Nodes with the files of these directories, whose PID 1 begins at this level."""
        self.files, self.level = files, level
        self.root = root(target / "cluster")
        self.place = target / "cluster" / "bed"
        self.place.mkdir(exist_ok=True)
        run("mount", "-t", "tmpfs", "bed", self.place)
        self.shared = self.place / "shared"
        self.shared.mkdir()
        self.shared.chmod(0o777)
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "bridge", "type", "bridge")
        run("ip", "address", "add", f"{NETWORK}.254/24", "dev", "bridge")
        run("ip", "link", "set", "bridge", "up")
        self.nodes = {name: Node(self, number + 1) for number, name in enumerate(NODES)}
        # Which node was fenced, and which was killed, and when.
        self.fenced, self.ended = [], []
        for node in self.nodes.values():
            self.furnish(node, isinit)
        threading.Thread(target=self.serve_fencing, daemon=True).start()

    def furnish(self, node, isinit):
        """What is on a node's disk beside Debian."""
        for tree in self.files:
            for path in (HERE / tree).rglob("*"):
                if path.is_file():
                    name = "/" + str(path.relative_to(HERE / tree))
                    node.write(name, path.read_text(), path.stat().st_mode & 0o777)
        node.write("/usr/lib/ocf/resource.d/isinit/group", (HERE / "group").read_text(), 0o755)
        (node.file("/usr/local/sbin")).mkdir(parents=True, exist_ok=True)
        shutil.copy(isinit, node.file("/usr/local/sbin/isinit"))
        node.file("/shared").mkdir()
        if node.file("/etc/cib.xml").exists():
            self.seed(node)

    def seed(self, node):
        """The configuration that Pacemaker begins with. It keeps that as its own user."""
        pacemaker = self.root / "var/lib/pacemaker"
        cib = node.file("/var/lib/pacemaker/cib/cib.xml")
        for path in (cib.parent.parent, cib.parent):
            path.mkdir(parents=True, exist_ok=True)
            there = pacemaker if path.name == "pacemaker" else pacemaker / "cib"
            os.chown(path, there.stat().st_uid, there.stat().st_gid)
            path.chmod(0o750)
        shutil.move(node.file("/etc/cib.xml"), cib)
        os.chown(cib, (pacemaker / "cib").stat().st_uid, (pacemaker / "cib").stat().st_gid)
        cib.chmod(0o600)

    def start(self):
        for node in self.nodes.values():
            node.start()

    def form(self):
        until("the cluster forms", self.is_whole)

    def any_node(self):
        """One that can be asked."""
        return next(node for node in self.nodes.values() if node.pid)

    def is_whole(self):
        """Do all nodes see all?"""
        names = [node.call("crm_node", "-p", check=False).split() for node in self.nodes.values() if node.pid]
        return len(names) == len(NODES) and all(sorted(seen) == list(NODES) for seen in names)

    def serve_fencing(self):
        """The power switches: a socket that every node reaches, which stands for the management network."""
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.shared / "power.s"))
        listener.listen()
        while True:
            peer, _ = listener.accept()
            threading.Thread(target=self.serve_one, args=(peer,), daemon=True).start()

    def serve_one(self, peer):
        with peer:
            action, _, name = peer.makefile().readline().strip().partition(" ")
            node = self.nodes.get(name)
            if not node:
                return peer.sendall(b"no such node\n")
            with node.lock:
                if action in ("off", "reboot"):
                    self.fenced.append((name, time.time()))
                    node.kill()
                if action in ("on", "reboot") and not node.pid:
                    node.start()
            peer.sendall(b"on\n" if node.pid else b"off\n")
