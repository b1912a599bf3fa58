# syntax=docker/dockerfile:1
FROM python:3.11-slim AS build
WORKDIR /src
RUN python -m venv /opt/apipod-proxy
COPY scripts/constraints.txt scripts/
COPY pyproject.toml README.md LICENSE ./
COPY apipod_proxy apipod_proxy
COPY sql sql
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/apipod-proxy/bin/pip install --disable-pip-version-check --no-compile -c scripts/constraints.txt . \
    && /opt/apipod-proxy/bin/python -m compileall -q /opt/apipod-proxy/lib

FROM python:3.11-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin apipod \
    && install -d -o apipod -g apipod -m 0750 /data
COPY --from=build /opt/apipod-proxy /opt/apipod-proxy
ENV PATH=/opt/apipod-proxy/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOST=0.0.0.0 \
    PORT=8081 \
    DATA_DIR=/data
USER apipod
WORKDIR /data
VOLUME /data
EXPOSE 8081
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['PORT'] + '/health/ready', timeout=2)"]
ENTRYPOINT ["apipod-proxy"]
CMD ["serve"]
