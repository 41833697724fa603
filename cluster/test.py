#!/usr/bin/env python3
"""A real cluster, and what becomes of its groups when something goes wrong.

    test.py [--faults N] [--no-fencing] [--target-dir DIR] ISINIT

Three nodes (bed.py says of what they are made) have four groups of isinit in one table: an address, Redis and nginx,
which Pacemaker keeps together on one node, and a promotable clone. One fault after the other is made, of the kinds in
FAULTS, until there were N of them; each has to end as it should. From outside it is asked, at the address, who serves;
and a lock of all nodes tells whether a group was ever active twice (service/opt/bed/witness). Neither asks Pacemaker.
"""

import argparse
import random
import signal
import socket
import statistics
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import bed
from bed import ADDRESS, NODES, Failed, until

# The most that one look at the address may take, in seconds: a node that is gone answers never.
GLANCE = 0.2


def main():
    options = arguments()
    target = Path(options.target_dir).resolve()
    bed.in_namespaces(target)
    began = time.monotonic()
    chance = random.Random(options.seed)
    try:
        machines = bed.Bed(target, Path(options.isinit).resolve())
    except Failed as failed:
        sys.exit(f"no bed can be made: {failed}")
    cluster = Cluster(machines, options.fencing, chance)
    results = []
    try:
        cluster.start()
        print(f"the cluster is there after {time.monotonic() - began:.1f} s; fencing is "
              f"{'on' if options.fencing else 'off'}; seed {options.seed}", flush=True)
        for number in range(options.faults):
            results.append(play(cluster, FAULTS[number % len(FAULTS)]))
            if results[-1].failure:
                break
    except Failed as failed:
        print(f"the cluster does not begin as it should: {failed}")
        results.append(Result("begin", failure=str(failed)))
    if results[-1].failure:
        cluster.show()
    return summary(results, cluster, time.monotonic() - began, options)


def arguments():
    parser = argparse.ArgumentParser(description="faults in a cluster of three nodes")
    parser.add_argument("isinit")
    parser.add_argument("--faults", type=int, default=len(FAULTS))
    parser.add_argument("--no-fencing", dest="fencing", action="store_false")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target-dir", default=bed.HERE.parent / "target")
    return parser.parse_args()


class Result:
    def __init__(self, kind, seconds=None, words="", failure=""):
        self.kind, self.seconds, self.words, self.failure = kind, seconds, words, failure
        # Pairs of a service and the seconds for which it was active twice.
        self.twice = []


def play(cluster, fault):
    """One fault, and then everything is as before."""
    kind = fault.__name__.replace("_", " ")
    seen = len(cluster.log())
    try:
        seconds, words = fault(cluster)
        cluster.settle()
        result = Result(kind, seconds, words)
    except Failed as failed:
        result = Result(kind, failure=str(failed))
    result.twice = twice(cluster.log()[seen:], cluster.bed.ended)
    if result.twice and cluster.fencing and not result.failure:
        result.failure = f"active twice: {result.twice}"
    shown = "" if result.seconds is None else f"{result.seconds:5.2f} s"
    doubled = "".join(f"; {service} ACTIVE TWICE for {seconds:.2f} s" for service, seconds in result.twice)
    word = "FAILED" if result.failure else "ok    "
    print(f"{word} {shown:8} {kind}: {result.failure or result.words}{doubled}", flush=True)
    return result


def twice(lines, ended):
    """For how long which service was active on two nodes. A node that was killed could not say when its own ended."""
    found, open_since = doubles(lines)
    for (service, node), (since, other) in open_since.items():
        ends = [at for name, at in ended if name in (node, other) and at >= since]
        found.append((service, (min(ends) if ends else time.time()) - since))
    return found


def doubles(lines):
    """What was active on two nodes, and for how long; and what still is, since when and beside which other."""
    found, open_since = [], {}
    for line in lines:
        at, node, service, what, *rest = line.split()
        if what == "twice":
            open_since[service, node] = (float(at), rest[1])
        elif what == "once" and (service, node) in open_since:
            since, _ = open_since.pop((service, node))
            found.append((service, float(at) - since))
    return found, open_since


class Cluster:
    def __init__(self, machines, fencing, chance):
        self.bed, self.fencing, self.chance = machines, fencing, chance
        self.nodes = machines.nodes

    def start(self):
        self.bed.start()
        self.bed.form()
        self.wake_the_judge()
        self.pacemaker("crm", "configure", "load", "update", "/etc/service.crm")
        if self.fencing:
            self.pacemaker("crm", "configure", "load", "update", "/etc/fencing.crm")
        for name in NODES:
            self.set_digest(name, self.digest_of(name))
        self.settle()

    def wake_the_judge(self):
        """What is active twice has to be found: here it is made."""
        for name in NODES[:2]:
            self.nodes[name].call("sh", "-c", "/opt/bed/witness judge sleep 60 >/dev/null 2>&1 & echo $! >/tmp/judged")
            until("it has begun", lambda: any(line.split()[1:] == [name, "judge", "starts"] for line in self.log()))
        for name in NODES[:2]:
            self.nodes[name].call("sh", "-c", "kill $(cat /tmp/judged)")
        until("both ends are seen", lambda: any("once again" in line for line in self.log()))
        found = twice(self.log(), [])
        if [service for service, _ in found] != ["judge"]:
            raise Failed(f"the judge sleeps: {self.log()}")

    def pacemaker(self, *command, check=True):
        return self.bed.any_node().call(*command, check=check)

    def digest_of(self, name):
        return self.nodes[name].isinit("check", "--digest").strip()

    def set_digest(self, name, digest):
        self.pacemaker("crm_attribute", "--type", "nodes", "--node", name, "--name", "isinit-table", "--update", digest)

    # ---- what is seen from outside ----

    def server(self):
        """Who serves at the address, or nobody."""
        try:
            with socket.create_connection((ADDRESS, 80), GLANCE) as web:
                web.sendall(b"GET / HTTP/1.0\r\n\r\n")
                answer = web.makefile("rb").read().decode()
            with socket.create_connection((ADDRESS, 6379), GLANCE) as cache:
                cache.sendall(b"PING\r\n")
                pong = cache.recv(7)
        except OSError:
            return None
        name = answer.rsplit("\n", 2)[-2].strip() if answer.startswith("HTTP/1.1 200") else ""
        return name if name in NODES and pong == b"+PONG\r\n" else None

    def elsewhere(self, name, since):
        """Seconds since then until another node serves, and which."""
        other = until(f"another node than {name} serves", lambda: (self.server() or name) != name and self.server())
        return time.monotonic() - since, other

    def log(self):
        path = self.bed.shared / "log"
        return path.read_text().splitlines() if path.exists() else []

    def starts(self, service):
        return sum(line.split()[2:4] == [service, "starts"] for line in self.log())

    # ---- what Pacemaker sees ----

    def settle(self):
        """All nodes are there, everything runs where it should, and somebody serves. Who?"""
        until("everything is as before", self.is_settled)
        return until("somebody serves", self.server)

    def is_settled(self):
        if any(not node.pid for node in self.nodes.values()):
            return False
        status = self.status()
        if status is None or status.findall(".//failures/failure"):
            return False
        online = [node for node in status.findall("./nodes/node")
                  if node.get("online") == "true" and node.get("standby") == node.get("unclean") == "false"
                  and node.get("pending") == "false"]
        roles = sorted(resource.get("role") for resource in status.iter("resource")
                       if resource.get("resource_agent") == "ocf:isinit:group" and not resource.get("pending")
                       and resource.get("failed") == "false")
        return len(online) == len(NODES) and roles == ["Promoted", *["Started"] * 3, *["Unpromoted"] * 2]

    def status(self):
        text = self.pacemaker("crm_mon", "--one-shot", "--output-as=xml", check=False)
        try:
            return ET.fromstring(text)
        except ET.ParseError:
            return None

    def failures(self):
        status = self.status()
        return [] if status is None else status.findall(".//failures/failure")

    def cleanup(self):
        until("the failures are forgotten", lambda: not self.pacemaker("crm_resource", "--cleanup", check=False) or
              not self.failures())

    def show(self):
        """For who has to find out why."""
        print(self.pacemaker("crm_mon", "-1", "-Arf", check=False))
        for node in self.nodes.values():
            if node.pid:
                print(f"---- {node.name}")
                print(node.isinit("status", check=False))
                print(node.call("tail", "-n", "12", "/var/log/isinit.log", "/var/log/node.log",
                                "/var/log/pacemaker/pacemaker.log", check=False))
        print("\n".join(self.log()[-20:]))


# ---- the faults: each gives the seconds that it took, and what was seen ----

def node_killed(cluster):
    active = cluster.settle()
    since = time.monotonic()
    cluster.nodes[active].kill()
    seconds, other = cluster.elsewhere(active, since)
    come_back(cluster, active)
    return seconds, f"{active} loses its power, {other} serves"


def link_cut(cluster):
    active = cluster.settle()
    fenced = len(cluster.bed.fenced)
    since = time.monotonic()
    cluster.nodes[active].cut()
    seconds, other = cluster.elsewhere(active, since)
    if cluster.fencing:
        until(f"{active} is fenced", lambda: active in [name for name, _ in cluster.bed.fenced[fenced:]])
    else:
        # The other side has to be seen: what it had must go without anybody's help.
        until(f"{active} has let go", lambda: state_of(cluster.nodes[active], "web") != "run")
        cluster.nodes[active].mend()
    return seconds, f"{active} hears nobody, {other} serves"


def node_frozen(cluster):
    """It does nothing, and knows nothing of that: a virtual machine that was paused, a disk that hangs."""
    active = cluster.settle()
    node = cluster.nodes[active]
    since = time.monotonic()
    node.signal_all(signal.SIGSTOP)
    seconds, other = cluster.elsewhere(active, since)
    if cluster.fencing:
        come_back(cluster, active)
    else:
        node.signal_all(signal.SIGCONT)
        # Until it has heard of what happened it looks as if everything were well.
        until(f"{active} has let go", lambda: not doubles(cluster.log())[1])
    return seconds, f"{active} stands still, {other} serves"


def come_back(cluster, name):
    """Fencing switches a node on again; where there is none, an operator does."""
    if cluster.fencing:
        until(f"{name} is switched on again", lambda: cluster.nodes[name].pid)
    else:
        cluster.nodes[name].start()


def node_in_standby(cluster):
    active = cluster.settle()
    since = time.monotonic()
    cluster.pacemaker("crm_standby", "--node", active, "--update", "on")
    seconds, other = cluster.elsewhere(active, since)
    cluster.pacemaker("crm_standby", "--node", active, "--delete")
    return seconds, f"{active} goes into standby, {other} serves"


def process_killed(cluster):
    """One crash is isinit's affair."""
    active = cluster.settle()
    node = cluster.nodes[active]
    service, tag = cluster.chance.choice([("cache", "redis"), ("web", "nginx")])
    started, others = cluster.starts(service), [cluster.starts(name) for name in ("address", "pair")]
    pid = node.pid_of(service, tag)
    since = time.monotonic()
    node.call("kill", "-KILL", str(pid))
    until(f"{tag} is started again", lambda: cluster.starts(service) > started)
    until("it serves again", cluster.server)
    seconds = time.monotonic() - since
    stays(cluster, active, f"{tag} was killed once")
    if [cluster.starts(name) for name in ("address", "pair")] != others or cluster.starts(service) != started + 1:
        raise Failed("more than the one that was killed was started")
    return seconds, f"{tag} is killed on {active}, which respawns it and serves on"


def respawn_limit(cluster):
    """Many crashes are Pacemaker's."""
    active = cluster.settle()
    node = cluster.nodes[active]
    service, tag = cluster.chance.choice([("cache", "redis"), ("web", "nginx")])
    since = time.monotonic()

    def killed():
        nonlocal since
        if state_of(node, service) == "fail":
            return True
        try:
            pid = node.pid_of(service, tag)
        except Failed:
            return False
        since = time.monotonic()
        node.call("kill", "-KILL", str(pid), check=False)
        return False

    until(f"{tag} is over its limit", killed)
    seconds, other = cluster.elsewhere(active, since)
    cluster.cleanup()
    return seconds, f"{tag} is over its respawn limit on {active}, {other} serves"


def daemon_faults(cluster):
    """isinit's daemon survives its own fault: nothing moves, nothing is started anew."""
    active = cluster.settle()
    node = cluster.nodes[active]
    daemon, lines = daemon_of(node), len(cluster.log())
    since = time.monotonic()
    node.call("kill", "-SEGV", str(daemon))
    until("it answers again", lambda: "run" in node.isinit("status", "web", check=False))
    seconds = time.monotonic() - since
    stays(cluster, active, "the daemon had a fault")
    if daemon_of(node) != daemon or len(cluster.log()) != lines:
        raise Failed("something was started anew")
    return seconds, f"the daemon on {active} gets SIGSEGV, and nothing moves"


def daemon_killed(cluster):
    """What a killed daemon has left is not taken for stopped. The group that is looked at first is stopped, by a new
    daemon that takes over what is left; the others are found as they should be if that was quick enough."""
    active = cluster.settle()
    node = cluster.nodes[active]
    killed = daemon_of(node)
    since = time.monotonic()
    node.call("kill", "-KILL", str(killed))
    until("a new daemon takes over", lambda: daemon_of(node) not in (None, killed))
    seconds = time.monotonic() - since
    # Whether Pacemaker has acted on all that it has seen is known when it has forgotten it.
    cluster.cleanup()
    other = cluster.settle()
    where = "serves on" if other == active else f"is followed by {other}"
    return seconds, f"the daemon on {active} gets SIGKILL, a new one takes over, {active} {where}"


def table_out_of_step(cluster):
    """Nothing is started where the table is another than the attribute says."""
    active = cluster.settle()
    wrong, right = [name for name in NODES if name != active]
    node = cluster.nodes[wrong]
    table = node.call("cat", "/etc/isinittab")
    node.write("/etc/isinittab", table + "web:more:run,:off:true\n")
    cluster.pacemaker("crm_standby", "--node", right, "--update", "on")
    until(f"{right} is in standby", lambda: "standby" in cluster.pacemaker("crm_mon", "-1", check=False))
    cluster.pacemaker("crm_standby", "--node", active, "--update", "on")
    refused = until(f"{wrong} refuses", lambda: [failure.get("exitreason") for failure in cluster.failures()
                                                if "out of step" in (failure.get("exitreason") or "")])
    if cluster.server() == wrong:
        raise Failed(f"{wrong} serves by another table: {refused}")
    since = time.monotonic()
    cluster.pacemaker("crm_standby", "--node", right, "--delete")
    seconds, _ = cluster.elsewhere(wrong, since)
    if cluster.server() != right:
        raise Failed(f"{cluster.server()} serves")
    cluster.pacemaker("crm_standby", "--node", active, "--delete")
    node.write("/etc/isinittab", table)
    # A stop has read the other one: mended on disk is not yet mended in force.
    node.isinit("--")
    cluster.cleanup()
    return seconds, f"{wrong} refuses to start by another table; {right} serves as soon as it may"


def table_ahead(cluster):
    """What runs goes on when the attribute is a new one: somebody is told, nothing moves."""
    active = cluster.settle()
    lines = len(cluster.log())
    digest = cluster.digest_of(active)
    since = time.monotonic()
    cluster.set_digest(active, "0123456789abcdef")
    until("Pacemaker shows it", lambda: "out of step" in cluster.pacemaker("crm_mon", "-1", check=False))
    seconds = time.monotonic() - since
    cluster.set_digest(active, digest)
    stays(cluster, active, "the attribute was another")
    cluster.cleanup()
    if len(cluster.log()) != lines:
        raise Failed("something was started anew")
    return seconds, f"the attribute of {active} is another: it says so, and serves on"


def promoted_killed(cluster):
    """The node on which the clone is promoted."""
    cluster.settle()
    promoted = next(resource.find("node").get("name") for resource in cluster.status().iter("resource")
                    if resource.get("role") == "Promoted")
    started = cluster.starts("pair")
    since = time.monotonic()
    cluster.nodes[promoted].kill()
    until("another is promoted", lambda: cluster.starts("pair") > started)
    seconds = time.monotonic() - since
    come_back(cluster, promoted)
    return seconds, f"{promoted}, which was promoted, loses its power, and another is"


def state_of(node, group):
    return node.isinit("status", group).split()[1]


def daemon_of(node):
    """The PID of the daemon, if one answers."""
    _, found, rest = node.isinit("status", "--json", check=False).partition('"daemon":{"pid":')
    return int(rest.split(",")[0]) if found else None


def stays(cluster, active, because):
    """For longer than a monitor's interval the same node serves, without a failure that Pacemaker would act upon."""
    end = time.monotonic() + 3
    while time.monotonic() < end:
        if cluster.server() not in (active, None):
            raise Failed(f"the service has moved, though only {because}")
        time.sleep(bed.PAUSE)
    if cluster.server() != active:
        raise Failed(f"nobody serves any more: {because}")


FAULTS = (node_killed, link_cut, process_killed, node_in_standby, node_frozen, daemon_faults, respawn_limit, link_cut,
          promoted_killed, table_out_of_step, link_cut, daemon_killed, table_ahead)


def summary(results, cluster, seconds, options):
    print(f"\n{'':26} faults   s, least  median    most   twice")
    for kind in dict.fromkeys(result.kind for result in results):
        mine = [result for result in results if result.kind == kind]
        times = [result.seconds for result in mine if result.seconds is not None] or [float("nan")]
        doubled = sum(bool(result.twice) for result in mine)
        print(f"{kind:26} {len(mine):6} {min(times):10.2f} {statistics.median(times):7.2f} {max(times):7.2f}"
              f" {doubled:7}")
    doubled = [seconds for result in results for _, seconds in result.twice]
    words = "never"
    if doubled:
        words = f"{sum(bool(r.twice) for r in results)} times, for {min(doubled):.2f} to {max(doubled):.2f} s"
    failed = sum(bool(result.failure) for result in results)
    print(f"\nfencing {'on' if options.fencing else 'off'}, {len(cluster.bed.fenced)} times; active twice in "
          f"{len(results)} faults: {words}; {seconds:.0f} s in all")
    print(f"{len(results) - failed} passed, {failed} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
