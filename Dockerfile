# The server without the embedded PostgreSQL: ISAC_DATABASE_URL names the database.
FROM python:3.12-slim AS build
WORKDIR /build
COPY requirements-image.lock pyproject.toml README.md LICENSE NOTICE ./
RUN python -m venv /opt/isac \
 && /opt/isac/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements-image.lock
COPY src src
COPY feeds feeds
COPY schemas schemas
COPY alembic alembic
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . \
 && /opt/isac/bin/pip install --no-cache-dir --no-deps /wheels/isac-*.whl

FROM python:3.12-slim
RUN useradd --system --no-create-home isac
COPY --from=build /opt/isac /opt/isac
USER isac
ENV PATH=/opt/isac/bin:$PATH ISAC_HOST=0.0.0.0
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s CMD ["python", "-c", "import socket; socket.create_connection(('127.0.0.1', 8000), 3)"]
ENTRYPOINT ["isac"]
CMD ["serve"]
