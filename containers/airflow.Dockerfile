# Airflow's side: the scheduler, its server, its workers, with the DAGs; no TensorFlow.
#
# `make images` builds it; BASE and the build secrets are those of steps.Dockerfile. Airflow writes
# to AIRFLOW_HOME only, a volume.
ARG BASE

FROM ${BASE} AS installer
COPY locks/uv.txt locks/supply.txt /locks/
RUN --mount=type=secret,id=ca --mount=type=cache,target=/cache \
    if [ -e /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi && \
    python3 -m venv /uv && \
    /uv/bin/pip install --quiet --cache-dir /cache --disable-pip-version-check --require-hashes \
        -r /locks/uv.txt -r /locks/supply.txt
COPY containers/install.sh /
COPY locks/airflow.txt /locks/
RUN --mount=type=secret,id=ca --mount=type=secret,id=uv,target=/etc/uv/uv.toml \
    --mount=type=cache,target=/cache /install.sh /locks/airflow.txt

FROM ${BASE} AS code
COPY tasks /app/tasks
COPY dags /app/dags
RUN python3 -m compileall -q --invalidation-mode unchecked-hash /app

FROM ${BASE} AS airflow
ENV PATH=/libraries/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp \
    PYTHONPATH=/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    MLFLOW_DISABLE_TELEMETRY=true \
    DO_NOT_TRACK=true \
    GX_ANALYTICS_ENABLED=false \
    AIRFLOW_HOME=/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/app/dags \
    AIRFLOW__CORE__PLUGINS_FOLDER=/app/dags/plugins \
    AIRFLOW__CORE__MAX_TEMPLATED_FIELD_LENGTH=65536 \
    AIRFLOW__CORE__LOAD_EXAMPLES=False
COPY --from=installer /libraries /libraries
COPY --from=code /app /app
WORKDIR /app
USER 65532:65532
ENTRYPOINT ["airflow"]
ARG REVISION=unknown
LABEL org.opencontainers.image.title="melanoma-retraining airflow" \
      org.opencontainers.image.revision="${REVISION}"

# A build output, not an image: what is in it.
FROM scratch AS airflow-supply
COPY --from=installer /supply /
