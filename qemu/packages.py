"""Kernels, modules and BusyBox out of Debian's packages, unpacked beside each other and never installed.

Each architecture has an apt of its own, with its own state, cache and an empty dpkg status: the host's dpkg is
neither asked nor changed, and nobody has to be root. What was fetched stays under the cache directory.
"""

import fcntl
import lzma
import re
import shutil
import subprocess
import sys
from pathlib import Path


class Missing(Exception):
    """What a case needs cannot be had. The words are for the one who reads the result."""


class Packages:
    def __init__(self, arch, cache):
        self.arch = arch
        self.home = cache / arch.name
        self.config = self.home / "apt.conf"

    def unpacked(self, package):
        """The directory in which the newest `package` is unpacked."""
        place = self.home / package
        self.home.mkdir(parents=True, exist_ok=True)
        # Two beds may run at the same time on one cache.
        with open(self.home / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not place.is_dir():
                try:
                    self.fetch(package, place)
                except Missing:
                    # The lists may be old, or half: the next run gets new ones.
                    self.config.unlink(missing_ok=True)
                    raise
        return place

    def fetch(self, package, place):
        print(f"fetching {package} for {self.arch.name}", file=sys.stderr, flush=True)
        if not self.config.exists():
            self.configure()
        half = self.home / "unpacking"
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir()
        self.apt("apt-get", "download", *self.concrete(package), cwd=half)
        for deb in list(half.glob("*.deb")):
            subprocess.run(["dpkg", "-x", deb.name, "."], cwd=half, check=True)
            deb.unlink()
        # Only what is whole gets the name that is looked for.
        half.rename(place)

    def configure(self):
        for name in ("state/lists/partial", "cache/archives/partial"):
            (self.home / name).mkdir(parents=True, exist_ok=True)
        (self.home / "status").touch()
        lines = [
            f'APT::Architecture "{self.arch.debian}";',
            f'APT::Architectures {{ "{self.arch.debian}"; }};',
            f'Dir::State "{self.home}/state";',
            f'Dir::State::status "{self.home}/status";',
            f'Dir::Cache "{self.home}/cache";',
            'Acquire::Languages "none";',
            'APT::Sandbox::User "";',
        ]
        if self.arch.suite:
            lines.append(f'Dir::Etc::sourceparts "{self.other_release()}";')
        half = self.config.with_suffix(".half")
        half.write_text("\n".join(lines) + "\n")
        # An index that cannot be had may be one that nobody asks: what is missing is told when it is asked for.
        subprocess.run(["apt-get", "-q", "-c", half, "update"], capture_output=True)
        half.rename(self.config)

    def other_release(self):
        """The host's sources of Debian itself, for the release that has this architecture."""
        parts = self.home / "sources.list.d"
        parts.mkdir(exist_ok=True)
        (parts / "debian.sources").write_text(
            "Types: deb\nURIs: http://deb.debian.org/debian\n"
            f"Suites: {self.arch.suite}\nComponents: main\n"
            "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n")
        return parts

    def concrete(self, package):
        """`linux-image-cloud-amd64` is empty but for its dependency on the kernel of the day, and since Debian 14
        that one is empty but for the kernel and its modules."""
        if not package.startswith("linux-image-"):
            return [package]
        found = re.search(r"Depends: (linux-image-\d\S+)", self.apt("apt-cache", "depends", package))
        if not found:
            raise Missing(f"Debian's registry has no {package} for {self.arch.debian}")
        image = found.group(1)
        return [image, *re.findall(r"Depends: (linux-(?:binary|modules)-\S+)", self.apt("apt-cache", "depends", image))]

    def apt(self, program, *arguments, cwd=None):
        done = subprocess.run([program, "-c", self.config, *arguments], cwd=cwd,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise Missing(f"{program} {' '.join(arguments)} for {self.arch.debian}: {done.stderr.strip()}")
        return done.stdout


class Kernel:
    """An unpacked kernel package: the image to boot, and its modules."""

    def __init__(self, packages, package):
        tree = packages.unpacked(package)
        # /boot has it, or since Debian 14 the directory of its modules.
        (self.image,) = [file for file in tree.rglob("vmlinu[xz]*") if file.is_file()]
        self.files = {}
        for file in tree.rglob("*.ko*"):
            self.files[file.name.split(".ko")[0].replace("-", "_")] = file

    def modules(self, names):
        """The files of these modules and of all that they need, in the order in which insmod takes them.

        A module that is no file is taken to be built into the kernel: insmod has nothing to do."""
        order = {}

        def add(name):
            name = name.replace("-", "_")
            file = self.files.get(name)
            if not file or name in order:
                return
            code = plain(file)
            for needed in filter(None, depends(code)):
                add(needed)
            order[name] = code

        for name in names:
            add(name)
        return order


def plain(file):
    """Newer releases of Debian compress each module."""
    code = file.read_bytes()
    if file.suffix != ".xz":
        return code
    return lzma.decompress(code)


def depends(code):
    """What .modinfo of a module says: modules.dep is depmod's, and is not in the package."""
    found = re.search(rb"\0depends=([^\0]*)\0", code)
    return found.group(1).decode().split(",") if found else []
