#!/usr/bin/env bash
# image.sh [SBOM-TOOL]: dist/ with what the Dockerfile copies, and with buildah the images for amd64 and arm64 as OCI archives.
# The same commit gives the same bytes, whoever builds it and where: times are those of the commit.
set -euo pipefail
cd "$(dirname "$0")/.."
dist=dist sbom=${1:-}
epoch=$(git log -1 --format=%ct)
store=$(mktemp -d)
trap 'rm -rf "$store"' EXIT
builder() { buildah --storage-driver vfs --root "$store/graph" --runroot "$store/run" "$@"; }

rm -rf "$dist"
mkdir -p "$dist/own/weir"
chmod 0755 "$dist/own"; chmod 0700 "$dist/own/weir"

for arch in amd64 arm64; do
  root=$dist/linux-$arch
  mkdir -p "$root/usr/local/bin" "$root/usr/share/doc/weir" "$root/run" "$root/var/lib"
  # The root certificates are in the binary: an image from scratch has none.
  CGO_ENABLED=0 GOOS=linux GOARCH=$arch go build -trimpath -buildvcs=auto -ldflags '-s -w -buildid=' \
    -o "$root/usr/local/bin/weir" ./cmd/weir
  cp LICENSE "$root/usr/share/doc/weir/"
  if [ -n "$sbom" ]; then
    "$sbom" bin -json -std -noserial -notimestamp -output "$root/usr/share/doc/weir/sbom.cdx.json" "$root/usr/local/bin/weir"
  fi
  chmod -R u=rwX,go=rX "$root"
  if command -v buildah > /dev/null; then
    builder bud --quiet --isolation chroot --timestamp "$epoch" --platform "linux/$arch" -t "weir:$arch" . > /dev/null
    builder push --quiet --digestfile "$dist/weir-$arch.digest" "weir:$arch" "oci-archive:$dist/weir-$arch.tar:weir:$arch"
    echo "$(cat "$dist/weir-$arch.digest")  weir-$arch.tar"
  fi
done
