# What the Makefile of each package consists of: its own tests, run with the environment of the whole.
TOP := $(dir $(lastword $(MAKEFILE_LIST)))

.PHONY: test
test: ## Run the tests of this package
	@$(MAKE) --no-print-directory -C $(TOP) test TESTS=$(CURDIR)/tests
