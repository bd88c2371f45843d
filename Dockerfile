# The image: one static binary, which no shell and no library stands beside. `make image` makes what is copied here, and the images
# with buildah. Any other builder takes the same files: docker build --build-arg TARGETARCH=arm64 .
FROM scratch
ARG TARGETARCH=amd64
COPY dist/linux-${TARGETARCH}/ /
# Where weir may write; a volume that is mounted here takes over the owner.
COPY --chown=65532:65532 dist/own/ /var/lib/
COPY --chown=65532:65532 dist/own/ /run/
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/weir"]
CMD ["serve", "-config", "/etc/weir/weir.yaml"]
