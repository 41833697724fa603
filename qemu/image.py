"""A tree of files that is made in memory, and written as an initramfs or as an ext4 file system."""

import os
import stat
import subprocess
import tempfile
from pathlib import Path

# Where Debian keeps mkfs and fsck; a user's PATH often lacks it.
WITH_SBIN = dict(os.environ, PATH=os.environ["PATH"] + ":/usr/sbin:/sbin")

# What the scripts of the cases call. BusyBox has more; halt, poweroff and init are left to isinit.
APPLETS = """[ awk base64 basename cat chmod chroot chvt cp cttyhack cut date dd df dmesg echo env expr false free fuser
getty grep head hostname id insmod ip kill killall less ln login ls lsmod mkdir mkfifo mknod mkswap mktemp more
mount mountpoint mv nohup nproc od pidof printf ps pwd readlink rm rmdir sed seq setsid sh sleep sort stat stty
swapoff swapon switch_root sync tail test time timeout top touch tr true tty umount uname uniq uptime usleep
vi wc xargs yes zcat""".split()

# Kernels of Debian have drivers as modules; a case names those that it wants, the image carries them in order.
LOAD_MODULES = """#!/bin/sh
for module in /lib/modules/*.ko; do
    [ ! -e "$module" ] || insmod "$module" || echo "cannot load $module"
done
"""

# A shell in which a case types. It has the console, also where it is no terminal of its own yet.
CONSOLE_SHELL = """#!/bin/sh
exec cttyhack sh <>/dev/console >&0 2>&0
"""

# An initramfs as distributions have it: a script that finds the root file system and executes its init.
# `root=` and the words for init are the kernel's command line.
LOADER = """#!/bin/sh
mkdir -p /proc /dev /newroot
mount -t proc proc /proc
mount -t devtmpfs dev /dev
load-modules
init=/sbin/init
mode=rw
for word in $(cat /proc/cmdline); do
    case $word in
    realinit=*) init=${word#*=} ;;
    ro) mode=ro ;;
    esac
done
mount -t ext4 -o $mode /dev/vda /newroot || exec sh
umount /proc
mount --move /dev /newroot/dev 2>/dev/null || umount /dev
exec switch_root /newroot "$init" "$@"
"""


class Tree:
    """Paths without a leading slash, each with a mode and what it holds."""

    def __init__(self):
        self.nodes = {}

    def directory(self, path, mode=0o755):
        self.nodes[path.strip("/")] = (stat.S_IFDIR | mode, b"")

    def file(self, path, content, mode=0o644):
        self.put(path, stat.S_IFREG | mode, content)

    def link(self, path, to):
        self.put(path, stat.S_IFLNK | 0o777, to.encode())

    def put(self, path, mode, content):
        path = path.strip("/")
        for parent in reversed(Path(path).parents[:-1] if "/" in path else ()):
            self.nodes.setdefault(str(parent), (stat.S_IFDIR | 0o755, b""))
        self.nodes[path] = (mode, content)

    def cpio(self):
        """The newc format, as the kernel unpacks it: Documentation/driver-api/early-userspace/buffer-format.rst."""
        out = bytearray()
        for inode, (path, (mode, content)) in enumerate(self.nodes.items(), 1):
            record(out, path.encode(), inode, mode, content)
        record(out, b"TRAILER!!!", 0, 0, b"")
        return bytes(out)

    def into(self, directory):
        """Writes the tree over what is in `directory`. A name there that is a link is replaced, not followed."""
        for path, (mode, content) in self.nodes.items():
            place = Path(directory, path)
            if stat.S_ISDIR(mode):
                place.mkdir(parents=True, exist_ok=True)
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            place.unlink(missing_ok=True)
            if stat.S_ISLNK(mode):
                place.symlink_to(content.decode())
            else:
                place.write_bytes(content)
                place.chmod(stat.S_IMODE(mode))

    def ext4(self, image, megabytes):
        with tempfile.TemporaryDirectory() as directory:
            self.into(directory)
            make_ext4(directory, image, megabytes)


def record(out, name, inode, mode, content):
    """One file: a header of thirteen hexadecimal numbers, the name and the content, each padded to four bytes."""
    fields = (inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
    out += b"070701" + b"".join(b"%08x" % field for field in fields) + name + b"\0"
    out += bytes(-len(out) % 4)
    out += content
    out += bytes(-len(out) % 4)


def make_ext4(directory, image, megabytes):
    subprocess.run(["mkfs.ext4", "-q", "-F", "-E", "root_owner=0:0", "-d", directory, image, f"{megabytes}M"],
                   check=True, capture_output=True, env=WITH_SBIN)


def unclean(image):
    """What is wrong with a file system after its machine went down in order, or nothing."""
    head = subprocess.run(["dumpe2fs", "-h", image], capture_output=True, text=True, env=WITH_SBIN).stdout
    if "needs_recovery" in head:
        return "its journal needs recovery: it was not unmounted"
    check = subprocess.run(["fsck.ext4", "-f", "-n", image], capture_output=True, text=True, env=WITH_SBIN)
    return "" if check.returncode == 0 else check.stdout


def bare(isinit):
    """Nothing but an init."""
    tree = Tree()
    tree.file("init", isinit, 0o755)
    return tree


def busybox(isinit, box):
    """isinit as /init and /sbin/init, BusyBox for the rest."""
    tree = Tree()
    for name in ("bin", "sbin", "etc", "dev", "tmp"):
        tree.directory(name)
    tree.file("sbin/isinit", isinit, 0o755)
    for name in ("init", "sbin/init"):
        tree.link(name, "/sbin/isinit")
    tree.file("bin/busybox", box, 0o755)
    for name in APPLETS:
        tree.link(f"bin/{name}", "busybox")
    tree.file("bin/load-modules", LOAD_MODULES.encode(), 0o755)
    tree.file("bin/console-shell", CONSOLE_SHELL.encode(), 0o755)
    return tree


def loader(isinit, box):
    """An initramfs that is no isinit: it mounts /dev/vda and executes the init there."""
    tree = busybox(isinit, box)
    tree.file("init", LOADER.encode(), 0o755)
    return tree
