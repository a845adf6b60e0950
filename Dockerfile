# syntax=docker/dockerfile:1.7
# Two images: `portal` (web, worker, beat, bridge, MLflow) and `gateway` (the agent alone). Every package is checked by hash.

ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS tools
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 UV_NO_CACHE=1 UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1
RUN pip install uv==0.13.9
WORKDIR /build

FROM tools AS portal-packages
COPY requirements.txt ./
RUN uv venv /opt/venv && uv pip install --python /opt/venv/bin/python --require-hashes -r requirements.txt

FROM tools AS gateway-packages
COPY requirements-agent.txt ./
RUN uv venv /opt/venv && uv pip install --python /opt/venv/bin/python --require-hashes -r requirements-agent.txt

# The browser libraries, by the same script and lock file as on a developer's machine; Node comes from a hashed wheel.
FROM tools AS assets
COPY requirements-assets.txt ./
RUN uv venv /opt/venv && uv pip install --python /opt/venv/bin/python --require-hashes -r requirements-assets.txt
COPY package.json package-lock.json ./
COPY scripts/vendor_assets.py scripts/
COPY static/img/icons.txt static/img/
RUN /opt/venv/bin/python scripts/vendor_assets.py

FROM ${PYTHON_IMAGE} AS runtime
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN groupadd --gid 10001 phasegate \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/phasegate --shell /usr/sbin/nologin phasegate \
    && install -d -o 10001 -g 10001 -m 0755 /var/lib/phasegate /var/lib/phasegate/gateways
WORKDIR /app

FROM runtime AS gateway
COPY --from=gateway-packages /opt/venv /opt/venv
COPY LICENSE NOTICE ./
COPY deploy/health.py deploy/
COPY edge_bridge/__init__.py edge_bridge/
COPY edge_bridge/wire edge_bridge/wire
COPY edge_bridge/agent edge_bridge/agent
USER 10001:10001
VOLUME ["/var/lib/phasegate"]
ENTRYPOINT []
CMD ["python", "-m", "edge_bridge.agent", "run", "--config", "/var/lib/phasegate/agent.toml"]

FROM runtime AS portal
# 1883 is the account of the Mosquitto image: the bridge shares its folder with the broker.
RUN install -d -o 10001 -g 10001 -m 0755 /var/lib/mlflow /var/lib/phasegate-beat /var/lib/phasegate-plc \
    && install -d -o 1883 -g 1883 -m 0755 /mosquitto/data
COPY --from=portal-packages /opt/venv /opt/venv
COPY . .
COPY --from=assets /build/static/vendor static/vendor
ENV PHASEGATE_STATIC_ROOT=/app/staticfiles DJANGO_SETTINGS_MODULE=portal.settings GIT_PYTHON_REFRESH=quiet
RUN PHASEGATE_SECRET_KEY=only-for-collectstatic PHASEGATE_HOME=/tmp/build python manage.py collectstatic --noinput \
    && python -m compileall -q portal devices usecases governance edge_bridge coe marketplace
USER 10001:10001
EXPOSE 8000
CMD ["granian", "--interface", "wsgi", "--host", "0.0.0.0", "--port", "8000", "--workers", "1", "--blocking-threads", "4", "--no-ws", "--log-level", "warning", "portal.wsgi:application"]
