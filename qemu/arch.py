"""The architectures: what QEMU, Debian and Rust call each of them, and which machine is booted."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Arch:
    name: str       # as in ARCH= of the Makefile and `arch:` of a case
    debian: str     # as in dpkg --print-architecture
    target: str     # as in rustc --target
    qemu: tuple     # the program and its machine; the emulator is TCG, KVM hangs on some machines
    console: str    # the serial console, as the kernel names it
    cloud: str      # Debian's package of the small kernel
    full: str       # Debian's package of the kernel with all drivers
    suite: str = ""  # Debian releases of its own, where the host's has no such architecture


ARCHES = {
    arch.name: arch
    for arch in (
        Arch("x86_64", "amd64", "x86_64-unknown-linux-musl",
             ("qemu-system-x86_64", "-accel", "tcg"),
             "ttyS0", "linux-image-cloud-amd64", "linux-image-amd64"),
        Arch("aarch64", "arm64", "aarch64-unknown-linux-musl",
             ("qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a57", "-accel", "tcg"),
             "ttyAMA0", "linux-image-cloud-arm64", "linux-image-arm64"),
        Arch("armv7", "armhf", "armv7-unknown-linux-musleabihf",
             ("qemu-system-arm", "-M", "virt,highmem=off", "-cpu", "cortex-a15", "-accel", "tcg"),
             "ttyAMA0", "linux-image-armmp", "linux-image-armmp"),
        Arch("riscv64", "riscv64", "riscv64gc-unknown-linux-musl",
             ("qemu-system-riscv64", "-M", "virt", "-accel", "tcg"),
             "ttyS0", "linux-image-riscv64", "linux-image-riscv64", suite="trixie forky"),
    )
}
