# MLflow's server: its database on PostgreSQL, its artifacts on S3, with a login.
#
# `containers/build.sh mlflow` builds it; BASE and the build secrets are those of steps.Dockerfile.
# The server writes to /tmp only.
ARG BASE

FROM ${BASE} AS installer
COPY locks/uv.txt locks/supply.txt /locks/
RUN --mount=type=secret,id=ca --mount=type=cache,target=/cache \
    if [ -e /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi && \
    python3 -m venv /uv && \
    /uv/bin/pip install --quiet --cache-dir /cache --disable-pip-version-check --require-hashes \
        -r /locks/uv.txt -r /locks/supply.txt
COPY containers/install.sh /
COPY locks/mlflow.txt /locks/
RUN --mount=type=secret,id=ca --mount=type=secret,id=uv,target=/etc/uv/uv.toml \
    --mount=type=cache,target=/cache /install.sh /locks/mlflow.txt

FROM ${BASE} AS mlflow
ENV PATH=/libraries/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    MLFLOW_DISABLE_TELEMETRY=true \
    DO_NOT_TRACK=true \
    MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
COPY --from=installer /libraries /libraries
WORKDIR /tmp
USER 65532:65532
ENTRYPOINT ["mlflow"]
ARG REVISION=unknown
LABEL org.opencontainers.image.title="melanoma-retraining mlflow" \
      org.opencontainers.image.revision="${REVISION}"

# A build output, not an image: what is in it.
FROM scratch AS mlflow-supply
COPY --from=installer /supply /
