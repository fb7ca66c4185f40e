# A fresh Debian 12 machine needs make, Python and git; `make setup`, which the others call, gets the rest.

VENV := .venv
BIN := $(VENV)/bin

# The kernels of `make test`, of `make matrix`, and of `make demo` where this machine's own cannot be probed.
KERNELS ?= 6.1,7.3
MATRIX ?= 5.10,6.1,6.12,7.3
DEMO_KERNEL ?= 6.12

# The kernels of `make captures`: the matrix, unless KERNELS is given; and the scenarios, by default all.
comma := ,
RECORDED = $(if $(filter file,$(origin KERNELS)),$(MATRIX),$(KERNELS))
SCENARIOS ?=

# More for pytest: make test ARGS='-k ipsec -x'
ARGS ?=

# BCC's Python module is Debian's; QEMU, kmod and busybox-static boot guests; nftables and the others are used in them;
# gcc and zstd are second opinions in tests (a filter's C text, a capture's container); a PNG needs a font.
PACKAGES := python3-bpfcc python3-venv qemu-system-x86 kmod busybox-static iproute2 iputils-ping libpcap0.8 procps \
	nftables iptables gcc libc6-dev zstd fonts-dejavu-core

.DEFAULT_GOAL := help
.PHONY: compare help setup packages lint test matrix captures docs man demo clean

help: ## Show this
	@sed -nE 's/^([a-z]+):[^#]*## (.*)/  make \1\t\2/p' Makefile | expand -t 20

setup: packages $(VENV)/.complete ## Install what is missing: Debian packages, and the Python environment in .venv

# dpkg-query knows in no time whether there is anything to do, and only then apt is called.
packages:
	@missing=$$(for package in $(PACKAGES); do \
	    dpkg-query -W -f '$${db:Status-Status}' $$package 2>/dev/null | grep -qx installed || echo $$package; done); \
	if [ -n "$$missing" ]; then \
	    echo "installing" $$missing; \
	    if [ "$$(id -u)" = 0 ]; then root=; elif command -v sudo >/dev/null; then root=sudo; \
	    else echo "Install these packages as root:" $$missing >&2; exit 1; fi; \
	    $$root apt-get update -q && \
	    $$root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $$missing; \
	fi

# Debian's Python, which BCC's module is made for, whatever other is first in PATH.
$(VENV)/.complete: pyproject.toml | packages
	/usr/bin/python3 -m venv --system-site-packages $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

lint: setup ## Check style and types
	$(BIN)/ruff check
	$(BIN)/mypy

test: lint ## Check, and test here and in guests of two kernels (KERNELS=6.1,7.3)
	$(BIN)/pytest --kernels $(KERNELS) $(ARGS)

matrix: lint ## The same in guests of four kernels (MATRIX=5.10,6.1,6.12,7.3)
	$(BIN)/pytest --kernels $(MATRIX) $(ARGS)

captures: setup ## Record the lab's scenarios anew, on four kernels (KERNELS=6.12 SCENARIOS='ping vlan': these on that)
	$(BIN)/python -m tests.guest.record_captures $(foreach kernel,$(subst $(comma), ,$(RECORDED)),-k $(kernel)) $(SCENARIOS)

docs: setup ## Write docs/commands.md and docs/events.md from the code
	$(BIN)/python -m kpath.cli.reference

# lowdown is a small Markdown translator; make setup does not install what only this needs.
man: docs ## Make the manual page, build/kpath.1, from docs/commands.md (needs the package lowdown)
	@mkdir -p build
	@command -v lowdown >/dev/null || { echo "Install lowdown first: apt install lowdown" >&2; exit 1; }
	{ printf '# NAME\n\nkpath - watch IPv4 packets take their path through the running Linux kernel\n\n# SYNOPSIS\n'; \
	    sed -e 1d -e 's/^## /# /' docs/commands.md; } | \
	    lowdown -s -Tman --out-no-smarty -M title=KPATH -M section=1 -M source=kpath -o build/kpath.1

compare: setup ## Check kernels against the documents, in guests (KERNELS=6.1,7.3; ARGS for kpath compare)
	$(BIN)/python -m kpath.guest run $(patsubst %,--kernel %,$(subst $(comma), ,$(KERNELS))) --nics -- \
	    sh -c 'exec kpath compare --junit $$KPATH_OUT/junit.xml --sarif $$KPATH_OUT/compare.sarif --keep $$KPATH_OUT/captures $(ARGS)'

demo: setup ## Watch packets take their path, here or in a guest (DEMO_KERNEL=6.12)
	@if [ "$$(id -u)" = 0 ] && [ -e /sys/kernel/tracing/available_filter_functions ]; then \
	    $(BIN)/python -m kpath.cli.demo; \
	else \
	    echo "This kernel cannot be probed by this user, so the demo runs in a guest of Linux $(DEMO_KERNEL)."; \
	    if [ -t 0 ] && [ -t 1 ]; then tty=--tty; fi; \
	    $(BIN)/python -m kpath.guest run --kernel $(DEMO_KERNEL) --nics $$tty -- python -m kpath.cli.demo; \
	fi

clean: ## Remove what was made here; the kernels in the cache stay
	rm -rf $(VENV) *.egg-info build dist guest-out .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
