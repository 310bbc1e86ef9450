# The steps as images, one target for each set of libraries:
#
#   data    ingest, validate, split, check_balance, oversample: no TensorFlow
#   train   train, evaluate, gate, register, report, promote: TensorFlow for the CPU
#   train-gpu   train on an NVIDIA GPU: Keras on JAX with CUDA. CUDA comes as Python packages from
#               the lock; of the machine it needs the driver only, which the engine's NVIDIA
#               runtime puts into the container. `containers/build.sh train-gpu` builds it.
#   serve   the web app: no TensorFlow, no training libraries
#
# `make images` builds data, train and serve. BASE is an image with Python 3.11, its module venv and certificates:
# one made by containers/debian.sh, or python:3.11-slim by its digest. Build secrets, both optional
# and in no layer afterwards: `ca`, certificates to trust while libraries are fetched, and `uv`, a
# uv.toml that names an index of the house.
ARG BASE

FROM ${BASE} AS installer
COPY locks/uv.txt locks/supply.txt /locks/
RUN --mount=type=secret,id=ca --mount=type=cache,target=/cache \
    if [ -e /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi && \
    python3 -m venv /uv && \
    /uv/bin/pip install --quiet --cache-dir /cache --disable-pip-version-check --require-hashes \
        -r /locks/uv.txt -r /locks/supply.txt
COPY containers/install.sh /

FROM installer AS data-libraries
COPY locks/data.txt /locks/
RUN --mount=type=secret,id=ca --mount=type=secret,id=uv,target=/etc/uv/uv.toml \
    --mount=type=cache,target=/cache /install.sh /locks/data.txt

FROM installer AS train-libraries
COPY locks/train.txt /locks/
RUN --mount=type=secret,id=ca --mount=type=secret,id=uv,target=/etc/uv/uv.toml \
    --mount=type=cache,target=/cache /install.sh /locks/train.txt

FROM installer AS train-gpu-libraries
COPY locks/train-gpu.txt /locks/
RUN --mount=type=secret,id=ca --mount=type=secret,id=uv,target=/etc/uv/uv.toml \
    --mount=type=cache,target=/cache /install.sh /locks/train-gpu.txt

FROM installer AS serve-libraries
COPY locks/serve.txt /locks/
RUN --mount=type=secret,id=ca --mount=type=secret,id=uv,target=/etc/uv/uv.toml \
    --mount=type=cache,target=/cache /install.sh /locks/serve.txt

FROM ${BASE} AS code
COPY tasks /app/tasks
RUN python3 -m compileall -q --invalidation-mode unchecked-hash /app/tasks

# What all steps share. Nothing here can write but to /tmp, a file system in memory that the runner
# gives, so HOME and every cache lie there; and to /var/tmp, if the runner lays a volume over it.
FROM ${BASE} AS step
ENV PATH=/libraries/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    MLFLOW_DISABLE_TELEMETRY=true \
    DO_NOT_TRACK=true \
    GX_ANALYTICS_ENABLED=false \
    NO_COLOR=1
WORKDIR /app
USER 65532:65532
ENTRYPOINT ["python", "-m", "tasks"]

FROM step AS data
COPY --from=data-libraries /libraries /libraries
COPY --from=code /app /app
ARG REVISION=unknown
LABEL org.opencontainers.image.title="melanoma-retraining data" \
      org.opencontainers.image.revision="${REVISION}"

FROM step AS train
COPY --from=train-libraries /libraries /libraries
COPY --from=code /app /app
ARG REVISION=unknown
ENV REVISION=${REVISION}
LABEL org.opencontainers.image.title="melanoma-retraining train" \
      org.opencontainers.image.revision="${REVISION}"

FROM step AS train-gpu
# Without a GPU JAX would go on, for hours, on the CPU; and what is called float32 would be rounded
# to 10 bits in products, so that validation would not be what the saved model answers elsewhere.
# NVIDIA's runtime reads the last; without it a container gets no driver for computing.
ENV KERAS_BACKEND=jax \
    JAX_PLATFORMS=cuda \
    JAX_DEFAULT_MATMUL_PRECISION=highest \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=train-gpu-libraries /libraries /libraries
COPY --from=code /app /app
ARG REVISION=unknown
LABEL org.opencontainers.image.title="melanoma-retraining train-gpu" \
      org.opencontainers.image.revision="${REVISION}"

# The app listens on every address of its container, so a login is asked for: give --users FILE, or
# --person-header and --proxy, after `serve --store ... --host 0.0.0.0`.
FROM step AS serve
ENV OMP_NUM_THREADS=1 \
    OPENBLAS_NUM_THREADS=1
COPY --from=serve-libraries /libraries /libraries
COPY --from=code /app /app
ARG REVISION=unknown
LABEL org.opencontainers.image.title="melanoma-retraining serve" \
      org.opencontainers.image.revision="${REVISION}"
EXPOSE 8200
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8200/ready', timeout=4)"]

# Build outputs, not images: what is in them.
FROM scratch AS data-supply
COPY --from=data-libraries /supply /

FROM scratch AS train-supply
COPY --from=train-libraries /supply /

FROM scratch AS train-gpu-supply
COPY --from=train-gpu-libraries /supply /

FROM scratch AS serve-supply
COPY --from=serve-libraries /supply /
