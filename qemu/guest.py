"""One running machine: QEMU, its serial console on a pipe, and QMP on a socket pair.

Nothing here sleeps: whoever waits is woken by what the console or QEMU says, and gives up at a deadline that is only
the limit of patience. A machine that can no longer do what is expected (QEMU has gone, the kernel has panicked) ends
the wait at once.
"""

import json
import os
import re
import selectors
import socket
import subprocess
import time

# Colours and cursor moves, of the firmware above all.
ESCAPES = re.compile(r"\x1b(\[[0-9;?=]*[A-Za-z]|c|[()][A-Z0-9])|\r")
PANIC = re.compile(r"Kernel panic - not syncing.*\n")


class Failed(Exception):
    pass


class Guest:
    def __init__(self, command):
        ours, theirs = socket.socketpair()
        self.process = subprocess.Popen(
            [*command, "-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
             "-chardev", f"socket,id=qmp,fd={theirs.fileno()}", "-mon", "chardev=qmp,mode=control"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, pass_fds=[theirs.fileno()])
        theirs.close()
        self.qmp = ours
        self.raw = b""      # the console as it came
        self.console = ""   # the same, as one reads it
        self.seen = 0       # everything in the console before this was expected and seen
        self.events = []    # what QEMU told and no step has asked for yet
        self.coming_up = False  # after a reset that was expected, until something is seen
        self.unread = b""
        self.poll = selectors.DefaultSelector()
        self.poll.register(self.process.stdout, selectors.EVENT_READ, self.read_console)
        self.poll.register(self.qmp, selectors.EVENT_READ, self.read_qmp)
        self.tell("qmp_capabilities")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        self.qmp.close()
        self.poll.close()

    # What a step does

    def see(self, pattern, patience):
        found = self.wait(lambda: pattern.search(self.console, self.seen), patience)
        self.seen = found.end()
        if self.coming_up:
            # QEMU tells of one reset twice.
            self.events = [event for event in self.events if event["event"] != "RESET"]
            self.coming_up = False

    def event(self, name, patience, **data):
        def happened():
            for event in self.events:
                if event["event"] == name and data.items() <= event.get("data", {}).items():
                    return event
        self.events.remove(self.wait(happened, patience))

    def powers_off(self, patience):
        def is_off():
            told = any(event["event"] == "SHUTDOWN" for event in self.events)
            # The riscv64 machine ends QEMU without a word.
            return told or not self.poll.get_map() and "reboot: Power down" in self.console
        self.wait(is_off, patience)

    def reboots(self, patience):
        self.event("RESET", patience, reason="guest-reset")
        self.coming_up = True

    def type(self, text):
        self.process.stdin.write(text.encode() + b"\n")
        self.process.stdin.flush()

    def key(self, keys):
        self.tell("send-key", keys=[{"type": "qcode", "data": key} for key in keys])

    def tell(self, command, **arguments):
        self.qmp.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())

    def stays(self, seconds):
        """Nothing ends the machine for so long. That something does not happen can only be seen by waiting."""
        told = len(self.events)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.poll.get_map():
            self.pump(max(0, deadline - time.monotonic()))
        if len(self.events) > told or not self.poll.get_map():
            raise Failed(f"it did not stay ({self.told()})")

    # Waiting

    def wait(self, condition, patience):
        deadline = time.monotonic() + patience
        while True:
            found = condition()
            if found:
                return found
            if PANIC.search(self.console):
                raise Failed("the kernel panicked")
            if not self.poll.get_map():
                raise Failed(f"the machine has ended ({self.told()})")
            left = deadline - time.monotonic()
            if left <= 0:
                raise Failed(f"not within {patience:.0f} s")
            if self.reset():
                # What it said before its end may still be in the pipe.
                left = min(left, 1)
                if not self.pump(left):
                    raise Failed(f"the machine was reset ({self.told()})")
                continue
            self.pump(left)

    def reset(self):
        return not self.coming_up and any(event["event"] == "RESET" for event in self.events)

    def told(self):
        return ", ".join(f"{event['event']} {event.get('data', '')}" for event in self.events[-3:]) or "QEMU told nothing"

    def pump(self, seconds):
        ready = self.poll.select(seconds)
        for key, _ in ready:
            key.data(key.fileobj)
        return ready

    def read_console(self, pipe):
        got = os.read(pipe.fileno(), 65536)
        if not got:
            self.poll.unregister(pipe)
        self.raw += got
        self.console = ESCAPES.sub("", self.raw.decode(errors="replace"))

    def read_qmp(self, sock):
        try:
            got = sock.recv(65536)
        except ConnectionResetError:
            got = b""
        if not got:
            self.poll.unregister(sock)
        *lines, self.unread = (self.unread + got).split(b"\n")
        for message in map(json.loads, filter(None, lines)):
            if "error" in message:
                raise Failed(f"QEMU: {message['error']['desc']}")
            if "event" in message:
                self.events.append(message)
