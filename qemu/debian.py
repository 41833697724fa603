"""A Debian with sysvinit, whose /sbin/init is isinit and whose table is the import of its own /etc/inittab."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import image
from packages import Missing

PACKAGES = "sysvinit-core,initscripts,sysv-rc,util-linux,procps,login,passwd,kmod,e2fsprogs,kexec-tools"
ROOT_MB = 700


def root(cache):
    """The root directory as mmdebstrap leaves it. Made once."""
    if os.getuid() != 0:
        raise Missing("a root of Debian is made by root only")
    place = cache / "debian"
    if not place.is_dir():
        print("making a Debian root", flush=True)
        half = cache / "debian.half"
        shutil.rmtree(half, ignore_errors=True)
        done = subprocess.run(
            ["mmdebstrap", "--variant=minbase", f"--include={PACKAGES}", "--mode=root",
             "--customize-hook=echo root:root | chroot \"$1\" chpasswd", "bookworm", half],
            capture_output=True, text=True)
        if done.returncode != 0:
            raise Missing(f"mmdebstrap: {done.stderr[-500:]}")
        half.rename(place)
    return place


def disk(place, isinit, extra, path):
    """The same with isinit in it, and the files of a case, as a disk."""
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory, "root")
        subprocess.run(["cp", "-a", "--reflink=auto", place, copy], check=True)
        tree = image.Tree()
        (copy / "sbin/init").rename(copy / "sbin/init.sysvinit")
        tree.file("sbin/isinit", isinit.read_bytes(), 0o755)
        tree.link("sbin/init", "isinit")
        # sysvinit's telinit is its init by another name, and is to stay sysvinit's.
        tree.link("sbin/telinit", "init.sysvinit")
        tree.file("etc/isinittab", imported(isinit, copy / "etc/inittab"))
        tree.file("etc/fstab", b"/dev/vda / ext4 defaults 0 1\n")
        tree.file("etc/hostname", b"debian\n")
        tree.into(copy)
        extra.into(copy)
        image.make_ext4(copy, path, ROOT_MB)


def imported(isinit, inittab):
    return subprocess.run([isinit, "import", "--from", "sysvinit", inittab], check=True, capture_output=True).stdout
