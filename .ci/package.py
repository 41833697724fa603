"""What isinit is handed out as: a Debian package, an image for containers, an archive of source and binaries.

    package.py deb BINARY ARCH OUT       ARCH as Rust has it: x86_64, aarch64
    package.py image BINARY ARCH OUT
    package.py dist OUT BINARY...        each is called isinit-ARCH in the end

What is made depends on what goes in and on nothing else: no clock, no user, no order of a directory. Its time is
SOURCE_DATE_EPOCH, or that of the last commit.
"""

import datetime
import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from email.utils import formatdate
from pathlib import Path

HOUSE = Path(__file__).resolve().parent.parent
CRATE = tomllib.loads((HOUSE / "Cargo.toml").read_text())["package"]
VERSION = CRATE["version"]
DEBIAN = {"x86_64": "amd64", "aarch64": "arm64", "armv7": "armhf", "riscv64": "riscv64"}
OCI = {"x86_64": ("amd64", None), "aarch64": ("arm64", "v8"), "armv7": ("arm", "v7"), "riscv64": ("riscv64", None)}
# Nobody reads mail for it; Debian wants an address all the same.
MAINTAINER = "The isinit authors <isinit@isinit.invalid>"

CONTROL = """\
Package: isinit
Version: {version}
Architecture: {arch}
Maintainer: {maintainer}
Installed-Size: {size}
Section: admin
Priority: optional
Description: start, switch and stop groups of processes by a table
 isinit is a clusterwide init. One table, an inittab with one more column, the
 resource group, is replicated to every host; on each of them one daemon
 switches each group to a runlevel on its own and leaves the others alone.
 .
 It works under another init or a cluster manager, as process 1 of a container
 in place of tini or supervisord, and as process 1 of a machine. This package
 leaves /sbin/init to whose it is: a kernel that is to start isinit is told
 init=/usr/sbin/isinit.
"""

COPYRIGHT = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: isinit

Files: *
Copyright: 2026 The isinit authors
License: Expat or Apache-2.0

License: Expat
{expat}

License: Apache-2.0
 On Debian systems the text of the Apache License 2.0 is in
 /usr/share/common-licenses/Apache-2.0.
"""

CHANGELOG = """\
isinit ({version}) unstable; urgency=medium

  * Version {version}. What is in it is told by the manual pages.

 -- {maintainer}  {date}
"""

OVERRIDES = """\
# It is no library: it is linked statically, to run in an initramfs, in an empty container and when the libraries are
# broken, and may lie anywhere in memory.
isinit: shared-library-lacks-prerequisites [usr/sbin/isinit]
"""

# What its daemon has made beside its socket goes with it; what still runs, or is somebody else's, stays.
POSTRM = """\
#!/bin/sh
set -e
if [ "$1" = purge ] && [ -d /run/is ]; then
    rm -f /run/is/init.s.state
    rmdir --ignore-fail-on-non-empty /run/is
fi
"""


def main():
    match sys.argv[1:]:
        case ["deb", binary, arch, out]:
            deb(Path(binary), arch, Path(out))
        case ["image", binary, arch, out]:
            image(Path(binary).read_bytes(), arch, Path(out))
        case ["dist", out, *binaries]:
            dist(Path(out), [Path(binary) for binary in binaries])
        case _:
            sys.exit(__doc__)


def epoch():
    """Seconds: when all of it was made."""
    said = os.environ.get("SOURCE_DATE_EPOCH")
    return int(said or git("log", "-1", "--format=%ct"))


def git(*words):
    done = subprocess.run(["git", "-C", HOUSE, *words], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"git {' '.join(words)}: {done.stderr.strip()}\nOutside of a git repository set SOURCE_DATE_EPOCH.")
    return done.stdout.strip()


def told(path):
    print(f"{path}: {path.stat().st_size} bytes")


# ---- Debian ----


def deb(binary, arch, out):
    with tempfile.TemporaryDirectory() as directory:
        tree = Path(directory, "isinit")
        # `make install` says what belongs to it, and nothing here says it again.
        subprocess.run(["make", "-s", "-C", HOUSE, "install", f"DESTDIR={tree}", "PREFIX=/usr",
                        f"BIN={binary.resolve()}"], check=True, stdout=subprocess.DEVNULL)
        for page in (tree / "usr/share/man").rglob("*.[1-9]"):
            compress(page, page.read_bytes())
            page.unlink()
        documents(tree / "usr/share/doc/isinit")
        overrides = tree / "usr/share/lintian/overrides/isinit"
        write(overrides, OVERRIDES)
        files = sorted(path for path in tree.rglob("*") if path.is_file())
        control = tree / "DEBIAN"
        size = sum(-(-path.stat().st_size // 1024) for path in files) + len(list(tree.rglob("*"))) - len(files)
        write(control / "control",
              CONTROL.format(version=VERSION, arch=DEBIAN[arch], maintainer=MAINTAINER, size=size))
        sums = [f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(tree)}\n" for path in files]
        write(control / "md5sums", "".join(sums))
        write(control / "postrm", POSTRM)
        (control / "postrm").chmod(0o755)
        settle(tree)
        out.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["dpkg-deb", "--root-owner-group", "-Zxz", "--build", tree, out], check=True,
                       stdout=subprocess.DEVNULL, env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch())})
    told(out)


def documents(place):
    license_text = (HOUSE / "LICENSE").read_text()
    expat = license_text.split("MIT License\n", 1)[1].split("=====")[0].strip()
    expat = "\n".join(" " + (line or ".") for line in expat.splitlines())
    write(place / "copyright", COPYRIGHT.format(expat=expat))
    date = formatdate(epoch())
    changelog = CHANGELOG.format(version=VERSION, maintainer=MAINTAINER, date=date)
    compress(place / "changelog", changelog.encode())
    for name in ("isinittab", "web.isinittab", "demo.isinittab", "container"):
        source, to = HOUSE / "examples" / name, place / "examples" / name
        to.parent.mkdir(exist_ok=True)
        shutil.copytree(source, to) if source.is_dir() else shutil.copy(source, to)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def compress(path, data):
    """As Debian wants it: the best, and neither name nor time in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(data, 9, mtime=0))


def settle(tree):
    """Modes and times that do not tell whose umask it was, and when."""
    for path in sorted(tree.rglob("*"), reverse=True):
        runs = path.is_dir() or path.parent.name in ("sbin", "bin") or path.name == "postrm"
        path.chmod(0o755 if runs else 0o644)
        os.utime(path, (epoch(), epoch()))
    tree.chmod(0o755)
    os.utime(tree, (epoch(), epoch()))


# ---- containers ----


def image(program, arch, out):
    """One archive in two forms: the OCI's layout, and what `docker load` reads; both name the same blobs."""
    layer = tar([("isinit", program, 0o755)])
    architecture, variant = OCI[arch]
    config = as_json({
        "created": formatted(epoch()),
        "architecture": architecture,
        **({"variant": variant} if variant else {}),
        "os": "linux",
        "config": {"Entrypoint": ["/isinit"],
                   "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                   "Labels": {"org.opencontainers.image.title": "isinit", "org.opencontainers.image.version": VERSION,
                              "org.opencontainers.image.licenses": CRATE["license"]}},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest(layer)}"]},
        "history": [{"created": formatted(epoch()), "created_by": "make image"}],
    })
    manifest = as_json({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": described("application/vnd.oci.image.config.v1+json", config),
        "layers": [described("application/vnd.oci.image.layer.v1.tar", layer)],
    })
    index = as_json({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{
            **described("application/vnd.oci.image.manifest.v1+json", manifest),
            "platform": {"architecture": architecture, "os": "linux", **({"variant": variant} if variant else {})},
            "annotations": {"org.opencontainers.image.ref.name": VERSION,
                            "io.containerd.image.name": f"docker.io/library/isinit:{VERSION}"},
        }],
    })
    docker = as_json([{"Config": blob(config), "RepoTags": [f"isinit:{VERSION}"], "Layers": [blob(layer)]}])
    blobs = sorted((blob(data), data, 0o644) for data in (layer, config, manifest))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(tar([
        ("oci-layout", as_json({"imageLayoutVersion": "1.0.0"}), 0o644),
        ("index.json", index, 0o644),
        ("manifest.json", docker, 0o644),
        *blobs,
    ]))
    told(out)


def digest(data):
    return hashlib.sha256(data).hexdigest()


def blob(data):
    return f"blobs/sha256/{digest(data)}"


def described(kind, data):
    return {"mediaType": kind, "digest": f"sha256:{digest(data)}", "size": len(data)}


def as_json(value):
    return json.dumps(value, indent=1).encode() + b"\n"


def formatted(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def tar(files):
    """The files, and the directories above them."""
    buffer, made = io.BytesIO(), set()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data, mode in files:
            for parent in reversed(Path(name).parents[:-1]):
                if parent not in made:
                    made.add(parent)
                    archive.addfile(member(str(parent), 0o755, tarfile.DIRTYPE, 0))
            archive.addfile(member(name, mode, tarfile.REGTYPE, len(data)), io.BytesIO(data))
    return buffer.getvalue()


def member(name, mode, kind, size):
    info = tarfile.TarInfo(name)
    info.mode, info.type, info.size, info.mtime = mode, kind, size, epoch()
    return info


# ---- source and binaries ----


def dist(out, binaries):
    if git("status", "--porcelain"):
        sys.exit("Changes are not committed: the source archive would not be what the binaries are made of.")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    name = f"isinit-{VERSION}"
    source = subprocess.run(["git", "-C", HOUSE, "archive", "--format=tar", f"--prefix={name}/", "HEAD"],
                            check=True, capture_output=True).stdout
    (out / f"{name}.tar.gz").write_bytes(gzip.compress(source, 9, mtime=0))
    for binary in binaries:
        # target/ARCH-unknown-linux-musl/release/isinit
        arch = binary.parent.parent.name.split("-")[0]
        shutil.copy(binary, out / f"{name}-{arch}")
    files = sorted(out.iterdir())
    (out / "SHA256SUMS").write_text("".join(f"{digest(path.read_bytes())}  {path.name}\n" for path in files))
    for path in files:
        told(path)


if __name__ == "__main__":
    main()
