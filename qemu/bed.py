#!/usr/bin/env python3
"""The test bed: boots a kernel with isinit as its PID 1 under QEMU, and judges what the console shows.

    bed.py [--arch=ARCH,...] test [CASE...]     the cases of initramfs-test/cases, or some of them
    bed.py [--arch=ARCH] look                   one machine, on this terminal

isinit has to be built for each architecture; `make qemu` and `make qemu-test` do that. What is fetched or made once
is kept under target/qemu. initramfs-test/README.md says what a case is.
"""

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import case as cases
import debian
import image
from arch import ARCHES
from guest import Failed, Guest
from packages import Kernel, Missing, Packages

HERE = Path(__file__).resolve().parent
CASES = HERE.parent / "initramfs-test" / "cases"
# Two machines at a time: a boot is mostly the emulation of one processor.
AT_A_TIME = 2
# Every disk has room for what a case writes, and is sparse.
DISK_MB = 64


def main():
    options = arguments()
    target = Path(options.target_dir).resolve()
    try:
        return look(options.arch[0], target) if options.what == "look" else test(options, target)
    except (Missing, cases.Wrong) as wrong:
        print(wrong, file=sys.stderr)
        return 1


def arguments():
    parser = argparse.ArgumentParser(description="boots isinit as PID 1 under QEMU")
    parser.add_argument("what", choices=("test", "look"))
    parser.add_argument("case", nargs="*")
    parser.add_argument("--arch", type=lambda names: names.split(","), default=["x86_64", "aarch64"])
    parser.add_argument("--target-dir", default=HERE.parent / "target")
    options = parser.parse_args()
    for name in options.arch:
        if name not in ARCHES:
            parser.error(f"no architecture {name}; there are {', '.join(ARCHES)}")
    return options


def test(options, target):
    wanted = [cases.load(path) for path in sorted(CASES.iterdir()) if not options.case or path.name in options.case]
    unknown = set(options.case) - {case.name for case in wanted}
    if unknown:
        raise cases.Wrong(f"no case {', '.join(sorted(unknown))}")
    runs = [Run(case, ARCHES[name], target) for name in options.arch for case in wanted if runs_on(case, name)]
    for run in runs:
        run.prepare()
    began = time.monotonic()
    # The long ones first, so that none of them is alone at the end.
    runs.sort(key=lambda run: -run.case.patience)
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        for run in pool.map(Run.go, runs):
            run.show()
    return summary(runs, time.monotonic() - began)


def runs_on(case, name):
    """What runs on both architectures of the suite runs on every other one, too."""
    both = {"x86_64", "aarch64"}
    return name in case.arches or (name not in both and both <= set(case.arches))


def summary(runs, seconds):
    failed = [run for run in runs if run.failure]
    left_out = [run for run in runs if run.missing]
    print(f"{len(runs) - len(failed) - len(left_out)} ok, {len(failed)} failed, {len(left_out)} not run, "
          f"{seconds:.0f} s")
    for run in failed:
        print(f"failed: {run.name}")
    return 1 if failed or left_out or not runs else 0


class Run:
    """One case on one architecture."""

    def __init__(self, case, arch, target):
        self.case, self.arch, self.target = case, arch, target
        self.name = f"{case.name} ({arch.name})"
        self.missing = ""
        self.failure = ""
        self.console = ""
        self.seen = 0
        self.seconds = 0

    def prepare(self):
        """Fetches what it needs: one after the other, and not in the time that the boots take."""
        try:
            self.machine = Machine(self.case, self.arch, self.target)
        except Missing as missing:
            self.missing = str(missing)

    def go(self):
        if self.missing:
            return self
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as directory:
            command = self.machine.command(Path(directory))
            with Guest(command) as guest:
                try:
                    self.play(guest)
                except Failed as failed:
                    self.failure = str(failed)
                self.console, self.seen = guest.console, guest.seen
            if not self.failure and self.machine.disk and self.case.ends.rest in ("poweroff", "reboot", "halt"):
                self.failure = image.unclean(self.machine.disk)
        self.seconds = time.monotonic() - began
        return self

    def play(self, guest):
        never = [step for step in self.case.steps if step.word == "never"]
        for step in [*self.case.steps, self.case.ends]:
            try:
                perform(step, guest, self.case.patience)
            except Failed as failed:
                raise Failed(f"{step}: {failed}") from None
            for forbidden in never:
                if cases.finds(forbidden.rest).search(guest.console):
                    raise Failed(f"{forbidden}: it is there")

    def show(self):
        if self.missing:
            print(f"not run  {self.name}: {self.missing}", flush=True)
            return
        word = "FAILED  " if self.failure else "ok      "
        print(f"{word} {self.seconds:5.1f} s  {self.name}: {self.case.says['about']}", flush=True)
        if self.failure:
            print(f"---- {self.failure}\n---- the console up to what was seen last:")
            print(self.console[:self.seen])
            print("---- and from there on:")
            print(self.console[self.seen:])
            print("----", flush=True)


def perform(step, guest, patience):
    word, rest = step.word, step.rest
    if word == "see":
        guest.see(cases.finds(rest), patience)
    elif word == "type":
        guest.type(rest)
    elif word == "key":
        guest.key(rest.split("-"))
    elif word == "event":
        guest.event(rest, patience)
    elif word == "reboots":
        guest.reboots(patience)
    elif word == "stays":
        guest.stays(float(rest))
    elif word == "ends":
        end(rest, guest, patience)


def end(how, guest, patience):
    if how == "poweroff":
        guest.powers_off(patience)
    elif how == "reboot":
        guest.event("RESET", patience, reason="guest-reset")
    elif how == "halt":
        guest.see(cases.finds("reboot: System halted"), patience)
    elif how == "reset-by-watchdog":
        guest.event("WATCHDOG", patience, action="reset")


class Machine:
    """What a case boots: a kernel, an image, perhaps a disk, and QEMU's arguments for them."""

    def __init__(self, case, arch, target):
        self.case, self.arch = case, arch
        self.binary = target / arch.target / "release" / "isinit"
        if not self.binary.exists():
            raise Missing(f"isinit is not built for {arch.target}")
        self.isinit = self.binary.read_bytes()
        packages = Packages(arch, target / "qemu")
        self.kernel = Kernel(packages, getattr(arch, case.says["kernel"]))
        self.box = next(packages.unpacked("busybox-static").rglob("bin/busybox")).read_bytes()
        self.debian = debian.root(target / "qemu") if case.says["disk"] == "debian" else None
        self.disk = None

    def command(self, directory):
        says = self.case.says
        initrd = directory / "initrd"
        initrd.write_bytes(self.initramfs().cpio())
        words = [f"console={name}" for name in (says["console"] or self.arch.console).split()]
        command = [*self.arch.qemu, "-nodefaults", "-display", "none", "-m", says["memory"],
                   "-kernel", self.kernel.image, "-initrd", initrd,
                   "-append", " ".join([*words, "quiet", says["append"]])]
        if says["disk"]:
            self.disk = directory / "disk"
            self.make_disk()
            command += ["-drive", f"if=none,id=disk,format=raw,file={self.disk}",
                        "-device", "virtio-blk-pci,drive=disk"]
        return command + shlex.split(says["qemu"])

    def initramfs(self):
        tree = {"bare": lambda: image.bare(self.isinit),
                "busybox": lambda: image.busybox(self.isinit, self.box),
                "loader": lambda: image.loader(self.isinit, self.box)}[self.case.says["image"]]()
        names = self.case.says["modules"].split()
        if self.case.says["disk"]:
            # ext4 does not depend on the checksum, it asks for it (a softdep).
            names += ["virtio_pci", "virtio_blk", "crc32c_generic", "ext4"]
        for number, (name, code) in enumerate(self.kernel.modules(names).items()):
            tree.file(f"lib/modules/{number:02}-{name}.ko", code)
        self.add_files(tree, "")
        return tree

    def make_disk(self):
        tree = image.Tree()
        if self.debian:
            self.add_files(tree, "disk:")
            # A distribution has its kernel with it.
            tree.file("boot/vmlinuz", self.kernel.image.read_bytes())
            tree.file("boot/initrd", self.initramfs().cpio())
            debian.disk(self.debian, self.binary, tree, self.disk)
            return
        tree = image.busybox(self.isinit, self.box)
        for name in ("proc", "sys", "run", "newroot"):
            tree.directory(name)
        self.add_files(tree, "disk:")
        tree.ext4(self.disk, DISK_MB)

    def add_files(self, tree, prefix):
        """The files of the case that belong here: those of a disk say so by `disk:` before their path."""
        def mine(path):
            return path.startswith(prefix + "/")
        for path, mode, content in self.case.files:
            if mine(path):
                text = content.replace("@console@", self.arch.console)
                tree.file(path[len(prefix):], text.encode(), mode)
        for path, target in self.case.links:
            if mine(path):
                tree.link(path[len(prefix):], target)


def look(name, target):
    """The demonstration, with this terminal as its serial console."""
    demo = cases.load(HERE.parent / "initramfs-test" / "look")
    print("Ctrl-A x ends QEMU; Ctrl-A h lists what else it takes.", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        command = Machine(demo, ARCHES[name], target).command(Path(directory))
        return subprocess.run([*command, "-serial", "mon:stdio", "-no-reboot"]).returncode


if __name__ == "__main__":
    sys.exit(main())
