#!/usr/bin/env python3
"""Runs the guide: every command of docs/cluster.md, on three machines that have nothing but Debian's packages.

    guide.py [--target-dir DIR] ISINIT

A block of commands says behind its `sh` where it is for: `every` host, `n1`, or `by-hand`, which is not run. In place
of the fencing by IPMI stands the bed's own power switch; apt-get and systemctl have stand-ins (guide/usr/local/sbin).
"""

import argparse
import re
import sys
import time
from pathlib import Path

import bed
from bed import NETWORK, NODES, Failed

GUIDE = bed.HERE.parent / "docs/cluster.md"


def main():
    parser = argparse.ArgumentParser(description="runs the commands of docs/cluster.md")
    parser.add_argument("isinit", type=Path)
    parser.add_argument("--target-dir", type=Path, default=bed.HERE.parent / "target")
    options = parser.parse_args()
    target = options.target_dir.resolve()
    bed.in_namespaces(target)
    began = time.monotonic()
    try:
        machines = bed.Bed(target, options.isinit.resolve(), ("machine", "guide"), "off")
        machines.start()
        let_in(machines)
        for number, (where, commands) in enumerate(blocks(GUIDE.read_text()), 1):
            play(machines, number, where, commands)
    except Failed as failed:
        print(f"FAILED  {failed}\n1 failed", flush=True)
        return 1
    print(f"the guide was followed in {time.monotonic() - began:.0f} s", flush=True)
    return 0


def blocks(text):
    """The blocks of commands, each with where it is for."""
    found = re.findall(r"^```sh (\S+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    if not any("ocf:isinit:group" in commands for where, commands in found if where == "n1"):
        raise Failed(f"{GUIDE} has no commands that could be run")
    return found


def let_in(machines):
    """Root's ssh from the first machine to all, which the guide asks for."""
    first = machines.nodes[NODES[0]]
    first.call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/root/.ssh/id_ed25519")
    key = first.call("cat", "/root/.ssh/id_ed25519.pub")
    first.write("/root/.ssh/config", "Host *\n    StrictHostKeyChecking no\n    LogLevel ERROR\n", 0o600)
    for node in machines.nodes.values():
        node.write("/root/.ssh/authorized_keys", key, 0o600)
        bed.until(f"ssh of {node.name}", lambda node=node: first.call(
            "ssh", f"{NETWORK}.{node.number}", "echo", "in", check=False) == "in\n")


def play(machines, number, where, commands):
    if "fence_ipmilan" in commands:
        where, commands = "n1", "crm configure load update /etc/fencing.crm\n"
    if where == "by-hand":
        return
    began = time.monotonic()
    for name in NODES if where == "every" else [where]:
        said = machines.nodes[name].call("bash", "-e", "-o", "pipefail", "-c", commands)
    first = commands.splitlines()[0]
    last = said.strip().splitlines()[-1:] or [""]
    print(f"ok      {time.monotonic() - began:5.1f} s  {where}: {first[:60]}  {last[0][:60]}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
