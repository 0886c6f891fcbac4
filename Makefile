# Copyright (c) wabiz.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Each target sets up what it needs below .cache and runs it. STEPS of one kind can be run by name, and pytest
# takes further arguments:  make unit ARGS="-k plan"
PYTHON ?= python3
ARGS ?=

SETUP = $(PYTHON) tests/setup
GROUPS = unit integration smoke containers molecule sanity lint build

.DEFAULT_GOAL := help
.PHONY: help test thorough kills coverage mutants demo bench docs format clean python $(GROUPS)

help:  ## show this list
	@sed -n 's/^\([a-z$$()A-Z]*\):[^#]*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | sed 's/$$(GROUPS)/$(GROUPS)/' | expand -t 12

python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=python3.12 ...")'

test: python  ## every test and check, with a summary at the end
	@$(SETUP) run --pytest="$(ARGS)"

$(GROUPS): python  ## one group of steps of `make test`
	@$(SETUP) run --pytest="$(ARGS)" $@

kills: python  ## runs of the role, killed at random moments, KILLS=60 times
	@WABIZ_KILLS=$(or $(KILLS),60) $(SETUP) run --pytest="-k test_kills" promises containers

thorough: python  ## `make test` and all that takes too long for it; STEPS="kubernetes" for some of it
	@WABIZ_THOROUGH=1 $(SETUP) run --pytest="$(ARGS)" $(STEPS)

coverage: python  ## which branches of the shipped code the tests leave out; ARGS="tests/unit/plugins" for some tests
	@$(SETUP) coverage --pytest="$(ARGS)"

mutants: python  ## changes of the code that decides, which unit tests have to notice; MODULES="_plan", SAMPLE=100 of each
	@$(SETUP) mutants --sample $(or $(SAMPLE),0) $(MODULES)

demo: python  ## the main job on local emulated clients, without a container engine
	@$(SETUP) exec tests/demo/demo.py $(ARGS)

bench: python  ## the measurements
	@$(SETUP) exec --bench tests/bench/bench.py $(ARGS)

docs: python  ## the documentation site, in .cache/docs
	@$(SETUP) docs

format: python  ## bring the Python files into their form
	@$(SETUP) format

clean:  ## remove all that these targets made, and stop the engine that they started
	@$(SETUP) clean
