# What there is to make; `make` alone prints it. Needs python3 >= 3.11 and its venv module, nothing else:
# packages, caches and results stay in this checkout. The one thing outside it that `test`, `bench` and
# `binary` may add, as root and only where missing, are the Debian packages named at the end.

PYTHON ?= python3
ARGS   ?=
SECONDS ?= 60
MINUTES ?= 60
JOBS    ?= 4

VENV := .venv
PY   := $(VENV)/bin/python

export PIP_CACHE_DIR          := $(CURDIR)/build/cache/pip
export PYINSTALLER_CONFIG_DIR := $(CURDIR)/build/cache/pyinstaller
export PATH                   := $(PATH):/usr/sbin:/sbin

.DELETE_ON_ERROR:
.PHONY: help setup check test page bench fuzz api-check faults hostile soak demo binary binary-here binary-check deb package-check install
.PHONY: uninstall clean tools-test tools-bench tools-binary tools-binary-here tools-package tools-resolved tools-page

help: ## print this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo '  ARGS="..." goes to pytest, tests/bench/run.py or the demo; PYTHON=... makes .venv'

setup: $(VENV)/.dev ## make .venv with everything pinned

check: $(VENV)/.dev ## formatting, lint, types, names that nothing uses
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(PY) -m vulture
	$(PY) -m vulture lib tunrouter.py packaging # without the tests: what only they use is dead too

# Flows are told apart by hash(): with this seed the same ones share a place in every run. Bytecode is kept in the
# checkout, whatever the caller's environment says: each worker, and each start of the program, would compile all anew.
test: $(VENV)/.dev tools-test tools-resolved ## all tests, JOBS=4 at once; as root, those in network namespaces too
	env -u PYTHONDONTWRITEBYTECODE PYTHONHASHSEED=1 $(PY) -m pytest -n $(JOBS) --dist worksteal $(ARGS)

page: $(VENV)/.dev tools-test tools-page ## the web page in a real Chromium; pictures of every view in build/page
	$(PY) -m pytest tests/page $(ARGS)

bench: $(VENV)/.bench ## measure beside GOST, WireGuard, floor and kernel, and draw it (as root)
	$(PY) tests/bench/run.py --json build/bench.json --plot build/bench $(ARGS)

fuzz: $(VENV)/.fuzz ## every decoder against made-up bytes, hypothesis at random, SECONDS=60 in all
	$(PY) tests/fuzz/fuzz.py --seconds $(SECONDS) $(ARGS)

api-check: $(VENV)/.api ## the web API below /x/ against its own OpenAPI document (schemathesis)
	$(PY) tests/schemathesis/run.py $(ARGS)

faults: $(VENV)/.dev tools-test ## what breaks and what is lost, into RELIABILITY.md (as root)
	FAULTS_TABLE=1 $(PY) -m pytest tests/faults $(ARGS)

hostile: $(VENV)/.dev tools-test ## what attackers cost others, into RELIABILITY.md; with SECONDS=… looks for worse (as root)
ifeq ($(origin SECONDS),command line)
	$(PY) tests/hostile/hunt.py --seconds $(SECONDS) $(ARGS)
else
	HOSTILE_TABLE=1 $(PY) -m pytest tests/hostile $(ARGS)
endif

soak: $(VENV)/.dev tools-test ## mixed traffic, reloads and kills for MINUTES=60 (as root)
	$(PY) tests/soak/soak.py --minutes $(MINUTES) $(ARGS)

demo: $(VENV)/.run ## two hosts behind a hub, in namespaces, for some seconds
	$(PY) tunrouter.py demo $(ARGS)

binary: $(VENV)/.dev tools-binary ## one executable for every Linux since 2020: build/dist/tunrouter (as root)
	packaging/binary.sh

binary-here: $(VENV)/.dev tools-binary-here ## the same from this machine's Python, quickly, for machines like it
	packaging/binary.sh --here

binary-check: $(VENV)/.dev tools-test tools-binary ## what make binary has built, in a bare Debian 11: figures and behaviour
	$(PY) -m pytest tests/binary $(ARGS)

deb: $(VENV)/.dev tools-package ## build/dist/tunrouter_VERSION_ARCH.deb, of the executable
	packaging/deb/build.sh

package-check: $(VENV)/.dev tools-test tools-package ## package, units, cron and install script in Debian roots (as root)
	$(PY) -m pytest tests/packaging $(ARGS)

install: ## the executable, units, completions, manual; PREFIX=/usr/local, DESTDIR= (as root)
	packaging/install.sh install

uninstall: ## remove them; what is configured stays
	packaging/install.sh uninstall

clean: ## remove what was built and every cache (.venv stays)
	find build -mindepth 1 ! -name .gitignore -delete
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find lib tests -name __pycache__ -prune -exec rm -rf {} +

# .venv: a stamp for each list of requirements, so that only a changed list installs anything.

define install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "tunrouter needs Python 3.11 or newer; \`$(PYTHON)\` is $$($(PYTHON) --version 2>&1)." >&2; \
	  echo "Name another: make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || { \
	  echo "\`$(PYTHON) -m venv\` failed; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	$(PY) -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@
endef

$(VENV)/.run: requirements.txt
	$(install)

$(VENV)/.dev: requirements-dev.txt $(VENV)/.run
	$(install)

$(VENV)/.fuzz: requirements-fuzz.txt $(VENV)/.dev
	$(install)

$(VENV)/.api: requirements-api.txt $(VENV)/.dev
	$(install)

$(VENV)/.bench: requirements-bench.txt $(VENV)/.dev | tools-bench
	$(install)

# Tools: command:package. As root on Debian and its kin, missing ones are installed; elsewhere this only
# says so, and pytest says what it skips. With policy-rc.d none of the servers among them is started.

define tools
	@missing=; for tool in $(1); do \
	  command -v $${tool%:*} >/dev/null 2>&1 || missing="$$missing $${tool#*:}"; done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
	  echo "apt-get install$$missing"; policy=/usr/sbin/policy-rc.d; \
	  [ -e $$policy ] || { trap "rm -f $$policy" EXIT; printf '#!/bin/sh\nexit 101\n' >$$policy; chmod 755 $$policy; }; \
	  apt-get -qq update && DEBIAN_FRONTEND=noninteractive \
	  apt-get -qq install --yes --no-install-recommends $$missing >/dev/null; \
	else echo "not installed, and what uses them will not run:$$missing" >&2; fi
endef

tools-test:
	$(call tools,ip:iproute2 ping:iputils-ping iperf3:iperf3 nft:nftables ethtool:ethtool \
	  redis-server:redis-server tinyproxy:tinyproxy-bin nginx:nginx haproxy:haproxy caddy:caddy \
	  stunnel4:stunnel4 squid:squid curl:curl tshark:tshark promtool:prometheus \
	  traceroute:traceroute dig:bind9-dnsutils dbus-daemon:dbus-daemon tracepath:iputils-tracepath \
	  zsh:zsh fish:fish mandoc:mandoc man:man-db systemd-analyze:systemd)

# Unpacked, not installed: the package would make it the machine's own resolver.
tools-resolved: build/tools/systemd-resolved
build/tools/systemd-resolved:
	@mkdir -p build/tools
	@if command -v resolvectl >/dev/null 2>&1 || ! command -v apt-get >/dev/null 2>&1; then exit 0; fi; \
	echo "apt-get download systemd-resolved"; cd build/tools && rm -f systemd-resolved_*.deb && \
	{ apt-get -qq download systemd-resolved || { apt-get -qq update && apt-get -qq download systemd-resolved; }; } 2>&1 | \
	  grep -v unsandboxed; dpkg-deb --extract systemd-resolved_*.deb systemd-resolved || \
	echo "no systemd-resolved here: the test with it will not run" >&2

tools-page:
	$(call tools,chromium:chromium)

tools-bench:
	$(call tools,ip:iproute2 ping:iputils-ping iperf3:iperf3 cc:gcc python3-config:python3-dev \
	  xz:xz-utils wireguard-go:wireguard-go)

tools-package:
	$(call tools,dpkg-deb:dpkg lintian:lintian debootstrap:debootstrap nsenter:util-linux)

tools-binary:
	$(call tools,objdump:binutils patch:patch debootstrap:debootstrap xz:xz-utils)

tools-binary-here:
	$(call tools,objdump:binutils patch:patch cc:build-essential)
