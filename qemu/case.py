"""A case: what is in the image, how it is booted, what the console must show, and how the machine ends.

    about: sysinit entries run one after the other    one line, shown with the result
    arch: x86_64 aarch64                              where it runs; x86_64 alone when not said
    file /etc/isinittab                               what follows, indented by four blanks, is its content
        main:a:S:sysinit:echo hello
    link /sbin/poweroff /sbin/isinit
    see hello                                         the console shows this, after all that was seen before
    ends poweroff

initramfs-test/README.md has all words.
"""

import re
import shlex
from dataclasses import dataclass, field

# `word: value` lines, with what holds when a case does not say.
DIRECTIVES = {
    "about": "",
    "arch": "x86_64",
    "kernel": "cloud",      # cloud or full
    "image": "busybox",     # busybox, bare or loader
    "console": "",          # the kernel's consoles; empty is the serial line
    "append": "",           # more words for the kernel
    "memory": "256",        # megabytes
    "modules": "",          # kernel modules for the image
    "disk": "",             # busybox or debian: what is on /dev/vda
    "qemu": "",             # more arguments for QEMU
    "patience": "40",       # seconds that one step may take; only the limit of patience
}
STEPS = ("see", "never", "type", "key", "event", "reboots", "stays")
ENDS = ("poweroff", "reboot", "halt", "reset-by-watchdog", "left-running")


class Wrong(Exception):
    """The file of a case is not understood."""


@dataclass
class Step:
    line: int
    word: str
    rest: str

    def __str__(self):
        return f"line {self.line}: {self.word} {self.rest}".rstrip()


@dataclass
class Case:
    name: str
    says: dict = field(default_factory=lambda: dict(DIRECTIVES))
    files: list = field(default_factory=list)   # (path, mode, content)
    links: list = field(default_factory=list)   # (path, target)
    steps: list = field(default_factory=list)
    ends: Step = None

    @property
    def arches(self):
        return self.says["arch"].split()

    @property
    def patience(self):
        return float(self.says["patience"])


def load(path):
    case = Case(path.name)
    lines = path.read_text().split("\n")
    at = 0
    while at < len(lines):
        number, line = at + 1, lines[at]
        at += 1
        if not line.strip() or line.startswith("#"):
            continue
        word, _, rest = line.partition(" ")
        rest = rest.strip()
        if word == "file":
            content, at = indented(lines, at)
            where, _, mode = rest.partition(" ")
            case.files.append((where, int(mode or "644", 8), content))
        elif word == "link":
            case.links.append(tuple(shlex.split(rest)))
        elif word.endswith(":") and word[:-1] in DIRECTIVES:
            case.says[word[:-1]] = rest
        elif word in STEPS and not case.ends:
            case.steps.append(Step(number, word, rest))
        elif word == "ends" and rest in ENDS and not case.ends:
            case.ends = Step(number, word, rest)
        else:
            raise Wrong(f"{path.name}:{number}: not understood: {line}")
    if not case.ends or not case.says["about"]:
        raise Wrong(f"{path.name}: a case has an `about:` and an `ends`")
    return case


def indented(lines, at):
    """The block from line `at` on, without its indent; blank lines at its end belong to nobody."""
    block = []
    while at < len(lines) and (not lines[at].strip() or lines[at].startswith("    ")):
        block.append(lines[at][4:])
        at += 1
    while block and not block[-1]:
        block.pop()
    return "".join(line + "\n" for line in block), at


def finds(text):
    """A pattern for what a step names: /a regular expression/, or the text as it stands."""
    if len(text) > 1 and text.startswith("/") and text.endswith("/"):
        return re.compile(text[1:-1], re.MULTILINE)
    return re.compile(re.escape(text))
