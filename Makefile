# isinit: build, show, test, install. `make help` lists what there is.

# The binary is static, so that one file runs in every container, initramfs and distribution.
TARGET     ?= x86_64-unknown-linux-musl
TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))
BIN        := $(TARGET_DIR)/$(TARGET)/release/isinit
PAGES      := docs/isinit.8 docs/isinittab.5 docs/isinit-protocol.7

# The promise of the project, kept by `make test`: this many bytes, with everything in it.
BIN_MAX_BYTES := 524288

# Rust's own linker, for every target: it lays equal functions together, and needs no gcc for the target. Relocations of
# a program that may lie anywhere take a twentieth of their usual size when packed: musl knows them since 1.2.4.
LLD := -C linker=rust-lld -C link-arg=-zpack-relative-relocs -C link-arg=--icf=all
LINK_x86_64-unknown-linux-musl  := $(LLD)
LINK_aarch64-unknown-linux-musl := $(LLD)
# And where rustup has no standard library either, the C library comes from Debian.
LINK_armv7-unknown-linux-musleabihf = $(shell python3 qemu/cross.py armv7)
LINK_riscv64gc-unknown-linux-musl   = $(shell python3 qemu/cross.py riscv64)

# The standard library is built with the program, for size, and without what a program that does not unwind
# has no use for: the symbol reader of backtraces alone is larger than all of isinit. Cargo offers that on
# stable only to those who say RUSTC_BOOTSTRAP; a plain `cargo build --release` works too, and is larger.
# Little is copied to where it is called (12 instructions at most; of what costs time in a loop, the lexer's search, that is
# seen to by hand), and what is the same in many places is put into one: most of what isinit does is a system call.
# No path of the machine that built it is in it (trim-paths knows those of packages): who builds the same commit in
# another folder gets the same bytes, and fewer of them.
SMALL = RUSTC_BOOTSTRAP=1 RUSTFLAGS='$(strip $(RUSTFLAGS) -C force-unwind-tables=no \
	--remap-path-prefix=$(shell rustc --print sysroot)/lib/rustlib/src/rust/library=rust \
	-C llvm-args=-inline-threshold=12 -C llvm-args=-enable-machine-outliner=always $(LINK_$(TARGET)) $(TINY))'
# Where in other people's code a panic comes from says less than where in ours, which is kept.
SMALL_STD := -Zbuild-std=std,panic_abort -Zbuild-std-features=optimize_for_size \
	-Ztrim-paths --config 'profile.release.trim-paths="all"' \
	-Zprofile-rustflags --config 'profile.release.package."*".rustflags=["-Zlocation-detail=none","-Zfmt-debug=none"]'

# Smaller still, for who has less room than questions: a panic ends in the same new life, but says neither what it was nor
# where (-Cpanic=immediate-abort), and no type is printed for those who write programs.
TINY_BIN := $(TARGET_DIR)/tiny/$(TARGET)/release/isinit

# The machines that are booted, and what Rust calls them.
ARCH ?= x86_64 aarch64
TARGET_x86_64  := x86_64-unknown-linux-musl
TARGET_aarch64 := aarch64-unknown-linux-musl
TARGET_armv7   := armv7-unknown-linux-musleabihf
TARGET_riscv64 := riscv64gc-unknown-linux-musl
comma := ,
space := $() $()
BED = python3 qemu/bed.py --target-dir=$(TARGET_DIR)

# Tests find signals as a terminal has them: a job in the background of a shell has some ignored, and so would all that
# they start.
CARGO_TEST := env --default-signal cargo test

# The programs that isinit is by another name.
OLD_NAMES := init telinit halt poweroff reboot runlevel

PREFIX  ?= /usr/local
DESTDIR ?=
SBINDIR := $(DESTDIR)$(PREFIX)/sbin
MANDIR  := $(DESTDIR)$(PREFIX)/share/man
SHARE   := $(DESTDIR)$(PREFIX)/share

# What is handed out, and where it is made.
PACKAGES := $(TARGET_DIR)/packages
MACHINE  := $(firstword $(subst -, ,$(TARGET)))
DEBIAN_x86_64  := amd64
DEBIAN_aarch64 := arm64
VERSION  := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
DEB      := $(PACKAGES)/isinit_$(VERSION)_$(or $(DEBIAN_$(MACHINE)),$(MACHINE)).deb
IMAGE    := $(PACKAGES)/isinit-$(VERSION)-$(MACHINE)-oci.tar

# Some tests become other users, or mount. They are in modules of this name.
NOT_ROOT := $(filter-out 0,$(shell id -u))

heading = @printf '\n== %s\n' '$(1)'

.DEFAULT_GOAL := build
.PHONY: build tiny tiny-test upgrade-test demo test qemu qemu-test sim fuzz fuzz-corpus faults soak bench doc install \
        install-init clean help deb image dist package-test session needs-package needs-package-test \
        needs-build needs-test needs-qemu needs-fuzz needs-bench format lint size tests doctests manpages installed
# The steps of `make test` are a sequence to be read, also under -j; cargo is parallel by itself.
.NOTPARALLEL:

build: needs-build ## the static release binary (this is what `make` alone does)
	$(SMALL) cargo build --release --bin isinit --target $(TARGET) $(SMALL_STD)

tiny: TINY = -Zunstable-options -Cpanic=immediate-abort -Zlocation-detail=none -Zfmt-debug=none
tiny: needs-build ## the same program without the words of a panic: target/tiny/
	$(SMALL) cargo build --release --bin isinit --target $(TARGET) --target-dir $(TARGET_DIR)/tiny $(SMALL_STD)
	@stat -c '%s bytes: %n' $(BIN) $(TINY_BIN) 2>/dev/null || stat -c '%s bytes: %n' $(TINY_BIN)

# It comes back from every fault as the usual one does.
tiny-test: needs-test tiny
	$(call heading,tests of the tiny one)
	ISINIT_BIN=$(TINY_BIN) $(CARGO_TEST) --test crash --test commands $(if $(NOT_ROOT),-- --skip as_root)

demo: build ## a plan, a switch, a respawn, a failed test and a graceful stop, before your eyes
	sh examples/demo.sh $(BIN)

test: needs-test format lint build size doc doctests tests manpages installed ## everything that has to be true before a change is taken
	$(call heading,all is well)

format:
	$(call heading,format)
	cargo fmt --check

lint:
	$(call heading,clippy)
	cargo clippy --all-targets -- -D warnings

size: build
	$(call heading,size and linkage of $(notdir $(BIN)))
	@bytes=$$(stat -c %s $(BIN)); \
	echo "$$bytes bytes of $(BIN_MAX_BYTES)"; \
	if [ "$$bytes" -gt $(BIN_MAX_BYTES) ]; then echo "too large" >&2; exit 1; fi; \
	headers=$$(LC_ALL=C readelf -lW $(BIN)) || exit 1; \
	if printf '%s\n' "$$headers" | grep -w INTERP; then echo "not static: it asks for an interpreter" >&2; exit 1; fi; \
	echo "static"

doctests:
	$(call heading,examples in the documentation)
	$(CARGO_TEST) --doc

tests: build
	$(call heading,tests)
	ISINIT_BIN=$(BIN) $(CARGO_TEST) --tests $(if $(NOT_ROOT),-- --skip as_root)
	$(if $(NOT_ROOT),@echo 'you are not root: the tests in modules called as_root were left out')

manpages:
	$(call heading,manual pages)
	mandoc -T lint -W warning $(PAGES)

installed: build
	$(call heading,what make install-init puts where)
	@place=$$(mktemp -d) && $(MAKE) --no-print-directory install-init DESTDIR=$$place >/dev/null && \
	for name in $(OLD_NAMES); do \
		test "$$(readlink -f $$place$(PREFIX)/sbin/$$name)" = $$place$(PREFIX)/sbin/isinit || exit 1; \
	done && for page in $(notdir $(PAGES)); do \
		cmp docs/$$page $$place$(PREFIX)/share/man/man$${page##*.}/$$page || exit 1; \
	done && (cd $$place && find . -type f -o -type l | sort) && rm -r $$place

qemu: needs-qemu ## a machine with isinit as its PID 1, on this terminal: ARCH= for another than x86_64
	$(MAKE) --no-print-directory build TARGET=$(TARGET_$(firstword $(ARCH)))
	$(BED) --arch=$(firstword $(ARCH)) look

qemu-test: needs-qemu ## boots real kernels: CASE= for some of the cases, ARCH= for other machines
	@for target in $(foreach arch,$(ARCH),$(TARGET_$(arch))); do \
		$(MAKE) --no-print-directory build TARGET=$$target || exit 1; \
	done
	$(call heading,boots under QEMU)
	$(BED) --arch=$(subst $(space),$(comma),$(strip $(ARCH))) test $(CASE)

# A release is a commit that says so: "Release 1.2.3".
upgrade-test: needs-test build ## a daemon of the last release is upgraded to this one
	@release=$$(git log -1 --grep='^Release [0-9.]*$$' --format=%H 2>/dev/null) && [ -n "$$release" ] || { \
		echo "upgrade-test: there is no release in this history to upgrade from" >&2; exit 1; }; \
	place=$(TARGET_DIR)/last-release && rm -rf $$place && mkdir -p $$place && \
	git archive $$release | tar -x -C $$place && \
	$(MAKE) --no-print-directory -C $$place build TARGET=$(TARGET) CARGO_TARGET_DIR=$$place/target && \
	ISINIT_BIN=$(BIN) ISINIT_RELEASE=$$place/target/$(TARGET)/release/isinit \
		$(CARGO_TEST) --test upgrade -- --ignored the_last_release_is_upgraded_to_this_one

.PHONY: cluster-test cluster-scale install-ocf needs-cluster
# Pacemaker's nodes are namespaces of this machine: only root can make them.
cluster-test: needs-cluster build ## three nodes with Pacemaker, and faults: FAULTS= for how many, FENCING=no to see why
	$(call heading,the guide of docs/cluster.md)
	python3 cluster/guide.py --target-dir=$(TARGET_DIR) $(BIN)
	$(call heading,faults in a cluster)
	python3 cluster/test.py --target-dir=$(TARGET_DIR) $(if $(FAULTS),--faults=$(FAULTS)) \
		$(if $(filter no,$(FENCING)),--no-fencing) $(BIN)

cluster-scale: build ## a table of 10,000 entries, and a thousand daemons at once: time and memory
	python3 cluster/scale.py $(BIN)

sim: needs-build ## the engine against a fake kernel: SEED= to repeat a history, STEPS= for its length
	ISINIT_SIM_SEED=$(or $(SEED),$(shell od -An -N4 -tu4 /dev/urandom | tr -d ' ')) \
	ISINIT_SIM_STEPS=$(or $(STEPS),10000000) \
	$(CARGO_TEST) --release --lib engine::sim::a_million_steps -- --exact --nocapture

fuzz: needs-fuzz ## looks for bytes that break what reads them: SECONDS= for all of it (420)
	sh .ci/fuzz $(or $(SECONDS),420)

fuzz-corpus: needs-fuzz ## takes what `make fuzz` has found on its way into the corpora that the tests replay
	sh .ci/fuzz merge

faults: needs-test build ## every system call made to fail with every errno, and a crash at each, for about 20 minutes
	ISINIT_BIN=$(BIN) $(CARGO_TEST) --test faults -- --ignored --nocapture --test-threads=1

soak: needs-test build ## a thousand services that come and go: SECONDS= for how long (600)
	ISINIT_BIN=$(BIN) SOAK_SECONDS=$(or $(SECONDS),600) $(CARGO_TEST) --test soak -- --ignored --nocapture

bench: needs-bench build ## isinit beside its peers and bare loops in C: BENCH= for options of benches/bench.py (--keep)
	python3 benches/bench.py $(or $(BENCH),--keep) $(BIN)

doc: needs-build ## the library's documentation, a broken link being an error
	$(call heading,documentation)
	RUSTDOCFLAGS='-D warnings' cargo doc --no-deps --lib

# Who installs (root) is often not who builds: what is built already is taken as it is.
install: ## binary, manual pages, completion for bash, zsh and fish, and vim's syntax, under DESTDIR and PREFIX
	@test -x $(BIN) || $(MAKE) build
	install -d $(SBINDIR) $(MANDIR)/man5 $(MANDIR)/man7 $(MANDIR)/man8
	install -m 0755 $(BIN) $(SBINDIR)/isinit
	install -m 0644 docs/isinit.8 $(MANDIR)/man8/
	install -m 0644 docs/isinittab.5 $(MANDIR)/man5/
	install -m 0644 docs/isinit-protocol.7 $(MANDIR)/man7/
	install -D -m 0644 docs/completion/isinit.bash $(SHARE)/bash-completion/completions/isinit
	install -D -m 0644 docs/completion/_isinit $(SHARE)/zsh/site-functions/_isinit
	install -D -m 0644 docs/completion/isinit.fish $(SHARE)/fish/vendor_completions.d/isinit.fish
	install -D -m 0644 docs/vim/syntax/isinittab.vim $(SHARE)/vim/vimfiles/syntax/isinittab.vim
	install -D -m 0644 docs/vim/ftdetect/isinittab.vim $(SHARE)/vim/vimfiles/ftdetect/isinittab.vim

install-init: install ## and the links that make it the machine's init, telinit, halt, poweroff, reboot and runlevel
	for name in $(OLD_NAMES); do ln -sf isinit $(SBINDIR)/$$name || exit 1; done

deb: needs-package build ## a Debian package that stands beside another init: TARGET= for another machine
	python3 .ci/package.py deb $(BIN) $(MACHINE) $(DEB)

image: needs-package build ## an image for containers with nothing in it but the binary, for podman and docker to load
	python3 .ci/package.py image $(BIN) $(MACHINE) $(IMAGE)

dist: needs-package ## source, binaries for x86_64 and aarch64, and checksums: the same to the byte wherever it is made
	@for target in $(TARGET_x86_64) $(TARGET_aarch64); do \
		$(MAKE) --no-print-directory build TARGET=$$target || exit 1; \
	done
	python3 .ci/package.py dist $(PACKAGES)/dist \
		$(foreach arch,x86_64 aarch64,$(TARGET_DIR)/$(TARGET_$(arch))/release/isinit)

package-test: needs-package-test deb image ## installs the package in Debians, runs the image, and makes `dist` twice
	$(call heading,packages)
	python3 .ci/package_test.py $(MACHINE) $(DEB) $(IMAGE) $(TARGET_DIR)

session: needs-test build ## the picture of the README, from a session that is really held
	python3 .ci/session.py $(BIN) docs/session.svg

# Where Pacemaker looks for resource agents is its own, whatever PREFIX is.
install-ocf: install ## and the resource agent ocf:isinit:group for Pacemaker
	install -d $(DESTDIR)/usr/lib/ocf/resource.d/isinit
	install -m 0755 cluster/group $(DESTDIR)/usr/lib/ocf/resource.d/isinit/group

clean: ## what was built
	cargo clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | \
	while IFS='|' read -r name what; do printf 'make %-12s %s\n' "$$name" "$$what"; done

needs-build:
	@sh .ci/needs build $(TARGET)

needs-test:
	@sh .ci/needs build $(TARGET)
	$(call heading,what the tests need)
	@sh .ci/needs test $(TARGET)

needs-package:
	@sh .ci/needs package

needs-package-test:
	@sh .ci/needs package-test

needs-bench:
	@sh .ci/needs bench $(TARGET)

needs-fuzz:
	@sh .ci/needs fuzz

needs-qemu:
	@sh .ci/needs qemu $(ARCH)

needs-cluster:
	@sh .ci/needs cluster
