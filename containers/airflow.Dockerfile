# Airflow's side:
#
#   airflow   the scheduler, its server, its workers, with the DAGs; no TensorFlow
#   worker    a worker that runs the steps as processes: Airflow with the libraries of all steps
#
# `make images` builds airflow, `containers/build.sh worker` the other; BASE and the build secrets
# are those of steps.Dockerfile. Airflow writes to AIRFLOW_HOME only, a volume.
ARG BASE

FROM ${BASE} AS installer
COPY locks/uv.txt locks/supply.txt /locks/
RUN --mount=type=secret,id=ca --mount=type=cache,target=/cache \
    if [ -e /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi && \
    python3 -m venv /uv && \
    /uv/bin/pip install --quiet --cache-dir /cache --disable-pip-version-check --require-hashes \
        -r /locks/uv.txt -r /locks/supply.txt
COPY containers/install.sh /

FROM installer AS airflow-libraries
COPY locks/airflow.txt /locks/
RUN --mount=type=secret,id=ca --mount=type=secret,id=uv,target=/etc/uv/uv.toml \
    --mount=type=cache,target=/cache /install.sh /locks/airflow.txt

FROM installer AS worker-libraries
COPY locks/worker.txt /locks/
RUN --mount=type=secret,id=ca --mount=type=secret,id=uv,target=/etc/uv/uv.toml \
    --mount=type=cache,target=/cache /install.sh /locks/worker.txt

FROM ${BASE} AS code
COPY tasks /app/tasks
COPY dags /app/dags
RUN python3 -m compileall -q --invalidation-mode unchecked-hash /app

FROM ${BASE} AS side
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
# Airflow wants a user with a name. A new volume takes over the owner of these folders.
RUN echo airflow:x:65532:65532::/tmp:/usr/sbin/nologin >>/etc/passwd && \
    mkdir -p /airflow/logs && chown -R 65532:65532 /airflow
COPY containers/entrypoint.sh /entrypoint
WORKDIR /app
USER 65532:65532
ENTRYPOINT ["/entrypoint"]

FROM side AS airflow
COPY --from=airflow-libraries /libraries /libraries
COPY --from=code /app /app
ARG REVISION=unknown
LABEL org.opencontainers.image.title="melanoma-retraining airflow" \
      org.opencontainers.image.revision="${REVISION}"

FROM side AS worker
COPY --from=worker-libraries /libraries /libraries
COPY --from=code /app /app
ARG REVISION=unknown
ENV REVISION=${REVISION}
LABEL org.opencontainers.image.title="melanoma-retraining worker" \
      org.opencontainers.image.revision="${REVISION}"

# Build outputs, not images: what is in them.
FROM scratch AS airflow-supply
COPY --from=airflow-libraries /supply /

FROM scratch AS worker-supply
COPY --from=worker-libraries /supply /
