"""Is what is handed out what it claims to be? Everything here is done with the real thing: lintian, dpkg in Debians
made for it, skopeo, podman, runc, and a second build in another folder.

    package_test.py ARCH DEB IMAGE TARGET-DIR

Debians and containers are made by root only; others are told what was left out.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import package

HOUSE = package.HOUSE
# Seconds that one command may take: the longest is a build on a machine that has something else to do.
PATIENCE = 900
# Each has an init of its own, which is to stay what it is.
DEBIANS = {"sysvinit": "sysvinit-core", "systemd": "systemd-sysv"}
NAMES_OF_INIT = ["init", "telinit", "halt", "poweroff", "reboot", "shutdown", "runlevel"]
# What dpkg writes for itself, whatever the package; and the cache of a command that dpkg calls.
OF_DPKG = re.compile(r"^(var/lib/dpkg/|var/log/(dpkg|alternatives)\.log|etc/ld\.so\.cache|var/cache/ldconfig/|proc/|dev/)")

# What a person would do with it, in a Debian that runs nothing else.
SESSION = r"""
set -eu
test "$(isinit --version)" = "isinit $1"
printf 'g:sleeper:run,:respawn:sleep 1000\ng:ask:run,:test:true\n' >/tmp/table
isinit check /tmp/table
isinit -c /tmp/table g run
test "$(isinit tell --wait g run)" = 'g run: run'
isinit status g
isinit plan g 0 | grep -q sleeper
isinit -k
rm /tmp/table
for page in man5/isinittab.5 man7/isinit-protocol.7 man8/isinit.8; do
    gzip -dc /usr/share/man/$page.gz | grep -q '^.Sh EXAMPLES'
done
test -s /usr/share/doc/isinit/copyright
isinit check /usr/share/doc/isinit/examples/isinittab
"""


class Failed(Exception):
    pass


def main():
    arch = sys.argv[1]
    deb, image, target = (Path(word).resolve() for word in sys.argv[2:])
    is_root = os.getuid() == 0
    passed, failed = 0, 0
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        steps = [
            ("lintian finds nothing", lambda: lint(deb)),
            ("the package has no name of an init in it", lambda: names(deb)),
            ("made again by somebody else, package and image are the same",
             lambda: again(arch, deb, image, target, place)),
            *[(f"installed beside {name}, it works, and purged it leaves nothing",
               lambda name=name: debian(name, deb, target, place)) for name in DEBIANS if is_root],
            ("skopeo reads the image in both forms", lambda: skopeo(image)),
            *[("podman loads it", lambda: podman(image, place)), ("runc runs it", lambda: runc(image, place))] * is_root,
            ("dist, made in another folder, is the same to the byte", lambda: dist(target, place)),
            ("the session that the README shows is held again", lambda: session(arch, target, place)),
            ("cargo would publish it, and what it would publish builds", lambda: crate(place)),
        ]
        for name, step in steps:
            print(f"{name} ... ", end="", flush=True)
            try:
                step()
                passed += 1
                print("ok", flush=True)
            except Failed as error:
                failed += 1
                print(f"FAILED\n{error}", flush=True)
    if not is_root:
        print("you are not root: Debians and containers were left out")
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


def run(*words, **more):
    """What it has printed; it has to end well."""
    done = subprocess.run([str(word) for word in words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=PATIENCE, **more)
    if done.returncode != 0:
        raise Failed(f"{' '.join(str(word) for word in words)}: {done.returncode}\n{done.stdout[-3000:]}")
    return done.stdout


def claim(holds, words):
    if not holds:
        raise Failed(words)


def lint(deb):
    said = run("lintian", "--allow-root", "--fail-on", "error,warning", deb)
    claim(not said.strip(), said)


def names(deb):
    listed = run("dpkg-deb", "--contents", deb)
    bad = [line for line in listed.splitlines() if line.split()[5].rsplit("/", 1)[-1] in NAMES_OF_INIT]
    claim(not bad, "\n".join(bad))
    fields = run("dpkg-deb", "--field", deb)
    claim(not re.search("^(Conflicts|Replaces|Provides|Breaks|Depends)", fields, re.MULTILINE), fields)


def again(arch, deb, image, target, place):
    binary = target / f"{arch}-unknown-linux-musl/release/isinit"
    for kind, first in (("deb", deb), ("image", image)):
        second = place / "again" / first.name
        command = f"umask 077; exec python3 {HOUSE}/.ci/package.py {kind} {binary} {arch} {second}"
        run("sh", "-c", command, env={**os.environ, "TZ": "Asia/Kolkata", "LC_ALL": "C.UTF-8"}, cwd="/")
        claim(first.read_bytes() == second.read_bytes(), f"{first} and {second} differ")


# ---- Debian ----


def debian(name, deb, target, place):
    root = place / name
    run("cp", "-a", "--reflink=auto", made(name, target / "packages"), root)
    init = {one: told(root, one) for one in NAMES_OF_INIT}
    claim(init["init"] != "nothing", "there is no /sbin/init to be replaced")
    before = listing(root)
    shutil.copy(deb, root / "isinit.deb")
    inside(root, "dpkg -i /isinit.deb")
    claim(init == {one: told(root, one) for one in NAMES_OF_INIT}, "a program of the init is another now")
    inside(root, SESSION, package.VERSION)
    inside(root, "dpkg -r isinit && dpkg -P isinit")
    (root / "isinit.deb").unlink()
    after = listing(root)
    changed = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    claim(not changed, f"left or changed: {changed}")
    # A daemon of which the package is purged before its end leaves nothing either.
    shutil.copy(deb, root / "isinit.deb")
    inside(root, "dpkg -i /isinit.deb; echo 'g:s:run,:respawn:sleep 1000' >/tmp/table; isinit -c /tmp/table g run; "
                 "isinit -k; rm /tmp/table; dpkg -P isinit; test ! -e /run/is")


def made(name, cache):
    """A Debian with this init. Made once."""
    root = cache / f"debian-{name}"
    if not root.is_dir():
        half = cache / f"debian-{name}.half"
        shutil.rmtree(half, ignore_errors=True)
        run("mmdebstrap", "--variant=minbase", "--mode=root", f"--include={DEBIANS[name]}", "bookworm", half)
        half.rename(root)
    return root


def inside(root, script, *words):
    """A shell in there, with processes of its own, which end with it. It is called init: below a process 1 with another
    name isinit takes itself for the entrypoint of a container, and stays in the foreground."""
    shell = root / "tmp/init"
    shell.symlink_to("/bin/sh")
    try:
        return run("unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", f"--mount-proc={root}/proc",
                   "chroot", root, "/tmp/init", "-c", script, "init", *words,
                   env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"})
    finally:
        shell.unlink()


def told(root, name):
    """What this program of /sbin is."""
    path = root / "sbin" / name
    if path.is_symlink():
        return os.readlink(path)
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "nothing"


def listing(root):
    """Every file with what is in it."""
    found = {}
    for path in root.rglob("*"):
        name = str(path.relative_to(root))
        if OF_DPKG.match(name):
            continue
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_file():
            found[name] = (path.stat().st_mode, hashlib.sha256(path.read_bytes()).hexdigest())
        else:
            found[name] = path.stat().st_mode
    return found


# ---- containers ----


def skopeo(image):
    for form in ("oci-archive", "docker-archive"):
        seen = json.loads(run("skopeo", "inspect", "--config", f"{form}:{image}"))
        claim(seen["config"]["Entrypoint"] == ["/isinit"], f"{form}: {seen}")
        claim(len(seen["rootfs"]["diff_ids"]) == 1, f"{form}: {seen}")


def podman(image, place):
    """Storage of its own, and nothing of the host's configuration of it."""
    call = ["podman", "--root", place / "storage", "--runroot", place / "run", "--storage-driver", "vfs"]
    run(*call, "load", "--input", image)
    names = json.loads(run(*call, "images", "--format", "json"))
    claim(any(f"isinit:{package.VERSION}" in name for name in names[0]["Names"]), f"it is called {names}")


def runc(image, place):
    bundle = place / "bundle"
    rootfs = bundle / "rootfs"
    rootfs.mkdir(parents=True)
    with tarfile.open(image) as archive:
        layers = json.load(archive.extractfile("manifest.json"))[0]["Layers"]
        with tarfile.open(fileobj=archive.extractfile(layers[0])) as layer:
            layer.extractall(rootfs)
    claim([path.name for path in rootfs.rglob("*")] == ["isinit"], "there is more in it than the binary")
    version = ["/isinit", "--version"]
    # Itself, and as the entrypoint of the only program that is there.
    for words in (version, ["/isinit", "run", "--", *version]):
        config = {
            "ociVersion": "1.0.0",
            "root": {"path": "rootfs", "readonly": False},
            "process": {"args": words, "cwd": "/", "env": [], "user": {"uid": 0, "gid": 0}},
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
            "linux": {"namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts", "network")]},
        }
        (bundle / "config.json").write_text(json.dumps(config))
        said = run("runc", "--root", place / "runc", "run", "--bundle", bundle, f"isinit-package-{os.getpid()}")
        claim(said.strip() == f"isinit {package.VERSION}", said)


# ---- source and binaries ----


def dist(target, place):
    run("make", "dist", cwd=HOUSE)
    other = place / "another-folder" / "isinit"
    run("git", "clone", "--quiet", HOUSE, other)
    clean = {name: value for name, value in os.environ.items() if name != "CARGO_TARGET_DIR"}
    run("make", "dist", cwd=other, env=clean)
    first, second = target / "packages/dist", other / "target/packages/dist"
    files = sorted(path.name for path in first.iterdir())
    claim(files == sorted(path.name for path in second.iterdir()), "other files")
    for name in files:
        claim((first / name).read_bytes() == (second / name).read_bytes(), f"{name} differs")
    run("sha256sum", "--check", "--strict", "SHA256SUMS", cwd=second)
    with tarfile.open(second / f"isinit-{package.VERSION}.tar.gz") as source:
        claim(f"isinit-{package.VERSION}/Cargo.toml" in source.getnames(), "no source in it")


def session(arch, target, place):
    """Numbers and columns are those of the moment."""
    again = place / "session.svg"
    run("python3", HOUSE / ".ci/session.py", target / f"{arch}-unknown-linux-musl/release/isinit", again)
    seen, shown = ([re.sub(r"\s+|<[^>]*>", " ", re.sub(r"\d+(ms|s|min)?", "N", line)) for line in path.open()]
                   for path in (again, HOUSE / "docs/session.svg"))
    claim([line.split() for line in seen] == [line.split() for line in shown],
          "docs/session.svg shows another one: make session")


def crate(place):
    """Elsewhere than the builds of the house: cargo would take the copy that is built here for the house's own, and not
    see any more when the house changes."""
    said = run("cargo", "publish", "--dry-run", "--locked", "--target-dir", place / "crate", cwd=HOUSE)
    claim("aborting upload due to dry run" in said, said)
    # That nobody has a site for it yet is no fault, and that tests are left out is meant; anything else is one.
    known = ("due to dry run", "no documentation, homepage or repository", "warning: ignoring test ")
    warnings = [line for line in said.splitlines() if line.startswith("warning")]
    claim(all(any(words in line for words in known) for line in warnings), said)


if __name__ == "__main__":
    main()
