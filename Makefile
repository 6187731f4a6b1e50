# SPDX-License-Identifier: GPL-2.0-only
# One word per job. What kbuild builds is said in Kbuild, not here.
#
# Everything made goes to .build/ of the clone; what is expensive (toolchain, kernel metadata, guest
# image) is cached in ${XDG_CACHE_HOME:-~/.cache}/drbdrs, keyed by version, for every clone.
#
#   KDIR=DIRECTORY            build for the kernel of this build directory (default: the running kernel
#                             on Debian 13, elsewhere the newest supported one of the Debian archive)
#   DRBDRS_KERNEL=RELEASE     build for this release
#   DRBDRS_NAME=drbd          what the module is called (default: drbdrs)
#   PREFIX=/usr/local DESTDIR=   where `make install` puts the tool

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := all

BUILD := .build
DRBDRS_NAME ?= drbdrs
MODULE := $(BUILD)/module/$(DRBDRS_NAME).ko
CARGO := scripts/cargo
PREFIX ?= /usr/local
DESTDIR ?=
export KDIR DRBDRS_KERNEL DRBDRS_FLAVOUR DRBDRS_NAME

.PHONY: help all module tools check test test-long san sim crash demo bench mutants fuzz lab test-uml deb test-deb test-boot test-install test-completion install clean

help: ## this list
	@sed -n 's/^\([a-z][a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

all: module tools ## the kernel module and the tool

module: ## the kernel module, .build/module/drbdrs.ko
	@scripts/kmake $(BUILD)/module --no-print-directory
	@echo "built $(MODULE) for Linux $$(scripts/kernel-release)"

tools: ## drbdadm, drbdsetup and drbdmeta (one program)
	$(CARGO) build --release --package drbd-tools

check: ## everything that needs no virtual machine: formats, lints, unit tests, the rules of the house
	@scripts/check

test: ## check, then the scenarios on virtual machines with the stock kernel
	@scripts/run-tests

test-long: ## the scenarios in every setup, also those that take too long for every change
	@scripts/deb
	@scripts/vm test --long

san: ## the exported mirror in the long run: locks, counters, both paths at once, two Primaries in the simulator
	$(CARGO) run --quiet --release --package drbd-sim -- 100000 --two-primaries
	@scripts/vm test --long san_
	@scripts/vm test --long two_primaries

demo: ## two virtual machines mirror a disk, lose a node and fail over, shown command by command
	@scripts/vm demo

crash: ## power cuts and lost links at random points, every acknowledged write checked; COUNT=40 SEED=1 STOCK=1 (against the stock driver)
	@scripts/vm crash $(if $(COUNT),--count $(COUNT)) $(if $(SEED),--seed $(SEED)) $(if $(STOCK),--stock)

bench: ## ratios against the stock driver, in the same virtual machines (COPIES=1: what keeping data from changing in flight costs)
	@scripts/vm bench $(if $(COPIES),--copies)

sim: ## a million schedules of two simulated nodes on the core (COUNT=n for fewer): what must never happen
	DRBDRS_ENUMERATE=all $(CARGO) test --quiet --release --package drbd_core --lib tests_enumerate
	$(CARGO) run --quiet --release --package drbd-sim -- $(or $(COUNT),1000000)

mutants: ## puts known kinds of bugs into a copy of the source, one by one: the tests must notice (it resumes)
	@$(CARGO) run --quiet --release --package drbd-sim --bin drbd-mutants

fuzz: ## ten million damaged inputs for each decoder (RUNS=n for fewer)
	DRBDRS_FUZZ_RUNS=$(or $(RUNS),10000000) scripts/cargo test --release -p drbd-fuzz
	DRBDRS_FUZZ_RUNS=$(or $(RUNS),10000000) scripts/cargo test --release -p drbd-tools --bin drbd-tools fuzz::

lab: ## two virtual machines with a stock kernel, and a shell in the first
	@scripts/lab up

test-uml: ## the module in a kernel with memory, lock and sleep checks (User Mode Linux)
	@scripts/uml-test

deb: ## two Debian packages in .build/deb: the module's source for dkms, and the tools
	@scripts/deb

test-deb: ## those packages in a Debian 13: built for its kernel, called drbd, refused, purged
	@scripts/deb-test

test-boot: ## those packages on two machines that live on: systemd brings the mirror up at boot, then a purge (long)
	@scripts/boot-test

test-install: ## README's make && make install in a new Debian 13, which is then booted and used (long)
	@scripts/install-test

test-completion: ## what bash, zsh and fish offer behind our commands, in a Debian 13
	@scripts/completion-test

install: ## the module for the running kernel and the tool (as root)
	@scripts/install "$(DESTDIR)" "$(PREFIX)"

clean: ## removes .build/ of this clone (the caches stay)
	rm -rf $(BUILD)
