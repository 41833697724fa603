"""A session with isinit, really held on a terminal, as a picture: docs/session.svg.

    session.py BINARY OUT.svg

Its services are a Redis and those who use it. Everything happens in a directory of its own, which is gone afterwards.
"""

import html
import os
import pty
import re
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TABLE = """\
shop:dir:open,night:wait:mkdir -p data
shop:db:open,night:respawn,ready=socket:\\
redis-server --port 0 --unixsocket s --dir data --supervised systemd
shop:till:open,:respawn,delay=1..30:while sleep 1; do redis-cli -s data/s incr sold; done
shop:ask:open,:test:redis-cli -s data/s ping
shop:count:night,:wait:redis-cli -s data/s save
"""

# What is typed; what stands in braces is asked of the daemon.
TYPED = [
    "cat shop.isinittab",
    "isinit check shop.isinittab",
    "isinit -c shop.isinittab tell --wait shop open",
    "isinit status",
    "isinit plan shop night",
    "isinit tell --wait shop night",
    "kill -KILL {pid of db}",
    "isinit status",
    "isinit shop nihgt",
    "isinit -k",
]

COLUMNS = 112
PATIENCE_S = 60
CHARACTER, LINE, MARGIN = 7.23, 17, 16
COLOURS = {"31": "#f28b82", "32": "#81c995", "33": "#fdd663"}
PAPER, INK, PROMPT = "#1e1f24", "#d5d7dc", "#8ab4f8"


def main():
    binary, out = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "shop.isinittab").write_text(TABLE)
        Path(directory, "isinit").symlink_to(binary)
        environment = {"PATH": f"{directory}:/usr/sbin:/usr/bin:/sbin:/bin", "TERM": "xterm", "LC_ALL": "C.UTF-8",
                       "HOME": directory, "ISINIT_SOCKET": f"{directory}/init.s"}
        try:
            lines = [line for typed in TYPED for line in step(typed, directory, environment)]
        finally:
            subprocess.run(["isinit", "-k"], cwd=directory, env=environment, capture_output=True)
    out.write_text(picture(lines))


def step(typed, directory, environment):
    """The prompt with what is typed, and what the terminal shows then; a line is its pieces, each with a colour."""
    asked = re.search(r"\{pid of (.*)\}", typed)
    if asked:
        typed = typed.replace(asked[0], pid_of(asked[1], directory, environment))
    shown = on_terminal(typed, directory, environment)
    if asked:
        # The next look is to see it started again.
        until(lambda: pid_of(asked[1], directory, environment) not in ("0", typed.split()[-1]))
    return [[(PROMPT, "$ "), ("#ffffff", typed)], *(pieces(line) for line in shown), []]


def pid_of(tag, directory, environment):
    lines = subprocess.run(["isinit", "status"], cwd=directory, env=environment, capture_output=True, text=True).stdout
    found = re.search(rf"^  {tag} +up +pid (\d+)", lines, re.MULTILINE)
    return found[1] if found else "0"


def until(holds):
    end = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > end:
            sys.exit("waited in vain")
        time.sleep(0.01)


def on_terminal(typed, directory, environment):
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(directory)
        os.execve("/bin/sh", ["sh", "-c", typed], environment)
    shown = b""
    while select.select([terminal], [], [], PATIENCE_S)[0]:
        try:
            read = os.read(terminal, 4096)
        except OSError:
            break
        if not read:
            break
        shown += read
    os.waitpid(pid, 0)
    os.close(terminal)
    lines = shown.decode().replace("\r\n", "\n").split("\n")
    # What was written over is not seen any more.
    lines = [line.rsplit("\r", 1)[-1].replace("\x1b[K", "") for line in lines]
    # Its directory is its home, and has another name each time.
    return [line.replace(directory, "~") for line in lines if line.strip()]


def pieces(line):
    found, colour = [], INK
    for part in re.split(r"(\x1b\[\d+m)", line):
        if part.startswith("\x1b["):
            colour = COLOURS.get(part[2:-1], INK)
        elif part:
            found.append((colour, part))
    return found


def wrapped(lines):
    """As a terminal does it: what is wider goes on below."""
    for line in lines:
        row, width = [], 0
        for colour, text in line:
            while width + len(text) > COLUMNS:
                row.append((colour, text[:COLUMNS - width]))
                text = text[COLUMNS - width:]
                yield row
                row, width = [], 0
            row.append((colour, text))
            width += len(text)
        yield row


def picture(lines):
    rows = list(wrapped(lines))
    while rows and not rows[-1]:
        rows.pop()
    width, height = round(COLUMNS * CHARACTER + 2 * MARGIN), len(rows) * LINE + 2 * MARGIN
    text = []
    for number, row in enumerate(rows):
        spans = "".join(f'<tspan fill="{colour}">{html.escape(part)}</tspan>' for colour, part in row)
        if spans:
            text.append(f'<text x="{MARGIN}" y="{MARGIN + 12 + number * LINE}">{spans}</text>')
    body = "\n".join(text)
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img">
<title>A session with isinit; made by `make session`</title>
<rect width="100%" height="100%" rx="8" fill="{PAPER}"/>
<g font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="12" xml:space="preserve">
{body}
</g>
</svg>
"""


if __name__ == "__main__":
    main()
