# Two images from one file: `edge` (also carries every other part that needs no browser) and `agent`, which is the
# same plus Debian's Chromium. docker-compose.yml builds both; by hand: docker build --target edge .

FROM python:3.13-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY requirements-agent.lock requirements-build.lock ./
RUN python -m venv /opt/testcast \
    && /opt/testcast/bin/python -m pip install --require-hashes --no-deps -r requirements-agent.lock
# What builds the wheel stays in an environment of its own: it is not needed to run.
RUN python -m venv /opt/build \
    && /opt/build/bin/python -m pip install --require-hashes --no-deps -r requirements-build.lock
COPY . .
RUN /opt/build/bin/python -m pip wheel --no-deps --no-build-isolation --wheel-dir /dist . \
    && /opt/testcast/bin/python -m pip install --no-deps --no-index /dist/testcast-*.whl

FROM python:3.13-slim AS edge
ENV PATH=/opt/testcast/bin:$PATH PYTHONUNBUFFERED=1 TESTCAST_EDGE_HOST=0.0.0.0 TESTCAST_EDGE_PORT=8000
RUN useradd --create-home --uid 10001 testcast
COPY --from=build /opt/testcast /opt/testcast
# Volumes that are mounted here for the first time belong to this user.
RUN for each in /data /access /keys /keys/ca /keys/server /keys/edge /keys/agent /keys/reader /keys/operator; do \
        install -d -o testcast -g testcast -m 0700 "$each"; \
    done
USER testcast
WORKDIR /home/testcast
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=4s --start-period=20s \
    CMD ["python", "-c", "import os, urllib.request as web; web.build_opener(web.ProxyHandler({})).open(f'http://127.0.0.1:{os.environ[\"TESTCAST_EDGE_PORT\"]}/healthz', timeout=3)"]
CMD ["testcast", "edge"]

FROM edge AS agent
USER root
# libatomic1: Playwright's driver, a Node.js of its own, does not start without.
RUN apt-get update \
    && apt-get install -y --no-install-recommends chromium fonts-liberation libatomic1 \
    && rm -rf /var/lib/apt/lists/*
# Chromium's own sandbox needs user namespaces, which container engines refuse by default. Here the container is the
# wall: no root, no capabilities, no new privileges, bounded memory and processes (docker-compose.yml). Where the
# engine allows user namespaces (a seccomp profile of yours), the agent finds that out and has both walls.
USER testcast
# An agent listens on no port; when it ends, the restart policy starts it again.
HEALTHCHECK NONE
CMD ["testcast", "agent"]
