# What a developer and a packager do with this tree: `make help`.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PREFIX ?= /usr/local
CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
BINARY := $(TARGET)/release/backup
share = $(DESTDIR)$(PREFIX)/share
docdir = $(share)/doc/backup

# Snapshots of tests are compared, never rewritten.
export INSTA_UPDATE := no
export INSTA_WORKSPACE_ROOT := $(CURDIR)
export RUST_BACKTRACE := 0
# Most tests wait for others more than they work.
export RUST_TEST_THREADS ?= 6

.PHONY: help
help: ## Say what there is to make
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' Makefile | while IFS=$$'\t' read -r target what; do \
	    printf '  make %-11s %s\n' "$$target" "$$what"; done

# Says which Rust is needed before cargo does, in its own way.
.PHONY: rust
rust:
	@scripts/need-rust '$(CARGO)'

.PHONY: demo
demo: rust ## Back up three small hosts of this machine, and look at the copies
	CARGO='$(CARGO)' scripts/demo.sh

.PHONY: build
build: rust ## Build the program, optimized
	$(CARGO) build --release --locked

# The tests keep owners, start sshd and mount small filesystems, all of which
# is root's. Of an ordinary user's run only the tests themselves go through
# sudo, so that what is built stays the user's.
define tests_as_root
if ((EUID != 0)); then \
    sudo true || { echo 'The tests need root: run this as root, or install sudo.' >&2; exit 1; }; \
    triple=$$(rustc -vV | sed -n 's/^host: //p' | tr a-z- A-Z_); \
    export "CARGO_TARGET_$${triple}_RUNNER=sudo -E"; \
fi
endef

.PHONY: test
test: rust ## Run every test there is (as root, or with sudo)
	scripts/need rsync openssh-server=sshd openssh-client=ssh util-linux=unshare mount procps=kill \
	    busybox sudo faketime icinga2-bin=icinga2 zsh fish ksh=ksh93 mksh csh=bsd-csh tcsh groff-base=groff mandoc \
	    e2fsprogs=mke2fs btrfs-progs=mkfs.btrfs
	# Some of them are played by tests, also where only some tests are wanted.
	$(CARGO) build --locked --examples
	$(tests_as_root); $(CARGO) test --locked $(TESTS)
	@if [[ -z $${BACKUP_TEST_WITHOUT_ZFS-} ]]; then $(MAKE) vm; \
	else echo 'Left out, because BACKUP_TEST_WITHOUT_ZFS is set: the tests that need ZFS (make vm).'; fi

.PHONY: vm
vm: rust ## Run the tests that need ZFS, in a virtual machine, or on the pool $BACKUP_TEST_POOL
	$(tests_as_root); CARGO='$(CARGO)' scripts/vm

# The scripts under src/edge/remote/ run on clients, under whatever sh they have.
.PHONY: lint
lint: rust ## Check formatting, warnings, documentation and shell scripts
	scripts/need shellcheck git
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --lib --no-deps --locked
	shellcheck -s sh src/edge/remote/*.sh src/edge/rsync/*.sh
	git -c safe.directory='*' grep -lE '^#!/.*[/ ](ba|da)?sh$$' -- ':!*.md' ':!*.rs' | xargs shellcheck -x

# Like the tests, the bench starts sshd and keeps owners, so it is root's.
bench_needs = rsync openssh-server=sshd openssh-client=ssh util-linux=unshare rsnapshot strace time

.PHONY: bench
bench: build ## Measure against every peer, and write docs/benchmarks.md (about two hours)
	scripts/need $(bench_needs)
	code=0; \
	($(tests_as_root); $(CARGO) bench --locked --bench fleet -- --all --docs) || code=$$?; \
	scripts/bench || code=$$?; \
	scripts/bench-tools || code=$$?; \
	exit $$code

.PHONY: bench-quick
bench-quick: rust ## Measure against every peer, small rows alone (three minutes)
	scripts/need $(bench_needs)
	$(tests_as_root); $(CARGO) bench --locked --bench fleet -- --quick

$(BINARY):
	@scripts/need-rust '$(CARGO)'
	$(CARGO) build --release --locked

.PHONY: install
install: $(BINARY) ## Install what `make build` built, below $(DESTDIR)$(PREFIX)
	install -D -m 755 $(BINARY) $(DESTDIR)$(PREFIX)/sbin/backup
	install -D -m 644 -t $(docdir) config.example.toml LICENSE-MIT LICENSE-APACHE
	install -D -m 755 -t $(docdir)/hooks $$(find hooks -type f -perm -u+x)
	install -D -m 644 -t $(docdir)/hooks hooks/README.md
	install -d $(share)/man/man8
	$(BINARY) completions man $(share)/man/man8
	chmod 644 $(share)/man/man8/backup*.8
	$(BINARY) completions bash | install -D -m 644 /dev/stdin $(share)/bash-completion/completions/backup
	$(BINARY) completions zsh | install -D -m 644 /dev/stdin $(share)/zsh/site-functions/_backup
	$(BINARY) completions fish | install -D -m 644 /dev/stdin $(share)/fish/vendor_completions.d/backup.fish

.PHONY: clean
clean: ## Remove what was built, and the demo
	$(CARGO) clean
	rm -rf demo
