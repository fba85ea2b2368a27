# AttriPrompt server and the model that ships with it, from Debian's packages alone.
#   docker build -t attriprompt .
#   docker run --rm --read-only -p 127.0.0.1:8080:8080 attriprompt
# Another Debian: --build-arg BASE=debian:trixie-slim. What survives a restart lies in the volume
# /var/lib/attriprompt; nothing else is written.
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS build
SHELL ["/bin/bash", "-e", "-o", "pipefail", "-c"]
WORKDIR /src
COPY deploy/setup.sh deploy/
RUN deploy/setup.sh build
COPY Makefile ./
COPY config config
COPY engine engine
COPY server server
COPY api api
RUN make -j"$(nproc)"
COPY LICENSE README.md ./
COPY deploy/attriprompt.service.in deploy/
RUN make install-strip DESTDIR=/stage PREFIX=/usr
# The packages of the libraries that it was linked with.
RUN ldd /stage/usr/bin/attriprompt | awk '$3 ~ "^/" { print $3 }' | xargs readlink -f \
    | sed 's|^\(/usr\)*/lib/|*/|' | xargs dpkg-query --search | cut -d : -f 1 | sort -u \
    >/stage/usr/share/attriprompt/packages.txt

FROM ${BASE}
LABEL org.opencontainers.image.title="AttriPrompt server" \
    org.opencontainers.image.description="CLIP image classification over HTTP" \
    org.opencontainers.image.version="0.1.0" \
    org.opencontainers.image.licenses="MIT"
COPY --from=build /stage/usr/share/attriprompt/packages.txt /usr/share/attriprompt/
RUN apt-get update \
    && xargs env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        </usr/share/attriprompt/packages.txt \
    && apt-get clean \
    && rm -rf /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log \
    && install -d -o 65532 -g 65532 -m 700 /var/lib/attriprompt
COPY --from=build /stage/usr/bin /usr/bin
COPY --from=build /stage/usr/share /usr/share
ENV ATTRIPROMPT_HOST=0.0.0.0 ATTRIPROMPT_STATE_DIR=/var/lib/attriprompt
VOLUME /var/lib/attriprompt
USER 65532:65532
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["/usr/bin/attriprompt", "health"]
ENTRYPOINT ["/usr/bin/attriprompt"]
CMD ["serve"]
