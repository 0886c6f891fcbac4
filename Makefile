# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Each target is a session of nox, which is set up below .cache for it: `make list` shows all. pytest takes further
# arguments:  make unit ARGS="-k plan"
PYTHON ?= python3
ARGS ?=

NOX_HOME = .cache/nox-home
NOX = $(NOX_HOME)/bin/nox --no-stop-on-first-error
GROUPS = unit integration smoke containers molecule sanity lint build

.DEFAULT_GOAL := help
.PHONY: help list test thorough kills coverage mutants demo bench docs format clean $(GROUPS)

help:  ## show this list
	@sed -n 's/^\([a-z$$()A-Z]*\):[^#]*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | sed 's/$$(GROUPS)/$(GROUPS)/' | expand -t 12

$(NOX_HOME)/done: tests/setup/requirements/nox.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=python3.12 ...")'
	@$(PYTHON) -m venv $(NOX_HOME)
	@$(NOX_HOME)/bin/pip install --quiet --upgrade -r $<
	@touch $@

list: $(NOX_HOME)/done  ## all sessions of nox
	@$(NOX) --list

test: $(NOX_HOME)/done  ## every test and check, with a summary at the end
	@$(NOX) -s gates -- -- $(ARGS)

$(GROUPS): $(NOX_HOME)/done  ## one group of the gates of `make test`
	@$(NOX) -s gates -- $@ -- $(ARGS)

kills: $(NOX_HOME)/done  ## runs of the role, killed at random moments, KILLS=60 times
	@WABIZ_KILLS=$(or $(KILLS),60) $(NOX) -s gates -- promises containers -- -k test_kills

thorough: $(NOX_HOME)/done  ## `make test` and all that takes too long for it; GATES="kubernetes" for some of it
	@WABIZ_THOROUGH=1 $(NOX) -s gates -- $(GATES) -- $(ARGS)

coverage: $(NOX_HOME)/done  ## which branches of the shipped code the tests leave out; ARGS="tests/unit/plugins" for some tests
	@$(NOX) -s coverage -- $(ARGS)

mutants: $(NOX_HOME)/done  ## changes of the code that decides, which unit tests have to notice; MODULES="_plan", SAMPLE=100 of each
	@$(NOX) -s mutants -- --sample $(or $(SAMPLE),0) $(MODULES)

demo bench docs: $(NOX_HOME)/done
	@$(NOX) -s $@ -- $(ARGS)

demo:  ## the main job on local emulated clients, without a container engine
bench:  ## the measurements
docs:  ## the documentation site, in .cache/docs

format: $(NOX_HOME)/done  ## bring the Python files into their form
	@$(NOX) -s format

clean:  ## remove all that these targets made, and stop the engine that they started
	@test ! -e $(NOX_HOME)/done || $(NOX) -s clean
	@rm -rf .cache
