#!/usr/bin/env python3
"""Says how isinit is linked for a target that rustup has no standard library for, and brings what that takes.

    cross.py ARCH       prints flags for RUSTFLAGS

The standard library is built anew anyway. What it is linked with comes out of Debian's packages: musl, and the
unwinder of gcc, which Rust looks for by LLVM's name.
"""

import shutil
import sys
from pathlib import Path

from arch import ARCHES
from packages import Missing, Packages

# Of gcc's library for each architecture, the release that its suite has.
GCC = {"armv7": "libgcc-12-dev", "riscv64": "libgcc-14-dev"}
# What gcc's unwinder asks glibc for, and musl does not have; -1 is "not found".
MISSING_IN_MUSL = {"riscv64": "_dl_find_object"}
CACHE = Path(__file__).resolve().parent.parent / "target" / "qemu"


def main(name):
    packages = Packages(ARCHES[name], CACHE)
    libraries = packages.home / "lib"
    libraries.mkdir(parents=True, exist_ok=True)
    musl = packages.unpacked("musl-dev")
    (crt1,) = musl.rglob("crt1.o")
    for file in [*crt1.parent.glob("*.o"), *crt1.parent.glob("*.a")]:
        shutil.copy(file, libraries)
    (unwinder,) = packages.unpacked(GCC[name]).rglob("libgcc_eh.a")
    shutil.copy(unwinder, libraries / "libunwind.a")
    flags = ["linker=rust-lld", "link-self-contained=no", "target-feature=+crt-static", "relocation-model=static",
             *(f"link-arg={libraries}/{crt}" for crt in ("crt1.o", "crti.o", "crtn.o"))]
    if name in MISSING_IN_MUSL:
        # No process of ours unwinds: that it is never called is what makes the address unimportant.
        flags.append(f"link-arg=--defsym={MISSING_IN_MUSL[name]}=0")
    print(f"-L {libraries}", *(f"-C {flag}" for flag in flags))


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except Missing as missing:
        sys.exit(str(missing))
