# make demo      start Airflow, MLflow, the web app and a store here, and run a retraining
# make stop      end the processes of the demo
# make images    build container images of the steps and of Airflow, for RUNNER=docker make demo
# make stack     start all of it in containers by compose; `make stack-stop` ends it (docs/compose.md)
# make check     run ruff, mypy, and the tests that run no step, server or container
# make test      run ruff, mypy, and all tests that a change must pass
# make campaign  run tests of hours: a thousand kills, storms of faults, long simulations; not for CI
# make kubeflow  compile the steps into a pipeline of Kubeflow, build/kubeflow/pipeline.yaml
# make lock      resolve the libraries again, after a change in pyproject.toml
#
# IMAGES=folder METADATA=folder EXTERNAL=folder CONFIG=json make demo
# AIRFLOW_PORT=8081 MLFLOW_PORT=5001 APP_PORT=8201 make demo
# RUNNER=docker STORE=s3://bucket/prefix AWS_SHARED_CREDENTIALS_FILE=file make demo

PYTHON ?= python3
LOCK := locks/everything.txt
SIDE_BY_SIDE ?= --numprocesses 2
# A copy of the lock, written last. An environment without this copy, or with another, is made anew.
MADE_FROM := .venv/made-from.txt

.PHONY: demo stop images stack stack-stop check test campaign lint environment tools kubeflow lock

demo: environment $(if $(filter docker,$(RUNNER)),images)
	@.venv/bin/python -m demo start

stop:
	@if [ -x .venv/bin/python ]; then .venv/bin/python -m demo stop; \
	else echo "There is no environment, so no demo can be running."; fi

images:
	@containers/build.sh

stack:
	@containers/stack.sh up

stack-stop:
	@containers/stack.sh stop

lint: environment
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

check: lint
	.venv/bin/python -m pytest $(SIDE_BY_SIDE) --check

test: lint tools
	.venv/bin/python -m pytest $(SIDE_BY_SIDE)

campaign: environment
	.venv/bin/python -m pytest tests/campaigns --campaign
	.venv/bin/python -m tests.support.campaigns

# kubectl and helm, which the tests of infra/ render manifests with.
tools: environment
	@sh locks/kubectl.sh

environment:
	@cmp -s $(LOCK) $(MADE_FROM) || PYTHON="$(PYTHON)" sh locks/environment.sh $(LOCK) $(MADE_FROM)

# kfp has an environment of its own: it wants another client of Kubernetes than Airflow. Images come
# from the environment, see docs/kubeflow.md; OPTIONS="--gpus 1" goes to the compiler.
KUBEFLOW := .kubeflow/made-from.txt
kubeflow:
	@cmp -s locks/kubeflow.txt $(KUBEFLOW) || \
		PYTHON="$(PYTHON)" sh locks/environment.sh locks/kubeflow.txt $(KUBEFLOW)
	@.kubeflow/bin/python -m tasks kubeflow --output build/kubeflow/pipeline.yaml $(OPTIONS)

# The resolver's settings of this machine, such as a company's index, must not get into the files.
COMPILE := pip compile pyproject.toml --generate-hashes --python-version 3.11 --no-header \
	--no-annotate --no-emit-index-url --no-emit-find-links --quiet

lock: environment
	@PATH="$(CURDIR)/.venv/bin:$$PATH"; set -ex; \
	uv $(COMPILE) --all-extras --group dev -o $(LOCK); \
	uv $(COMPILE) --extra data --extra copies --extra phones --extra validate -c $(LOCK) -o locks/data.txt; \
	uv $(COMPILE) --extra data --extra train --extra tensorflow --extra onnx -c $(LOCK) -o locks/train.txt; \
	uv $(COMPILE) --extra data --extra train --group gpu -c $(LOCK) -o locks/train-gpu.txt; \
	uv $(COMPILE) --extra airflow -c $(LOCK) -o locks/airflow.txt; \
	uv $(COMPILE) --extra airflow --extra data --extra copies --extra phones --extra validate \
		--extra train --extra tensorflow --extra onnx -c $(LOCK) -o locks/worker.txt; \
	uv $(COMPILE) --extra mlflow -c $(LOCK) -o locks/mlflow.txt; \
	uv $(COMPILE) --group kubeflow -o locks/kubeflow.txt; \
	uv $(COMPILE) --extra serve --extra phones -c $(LOCK) -o locks/serve.txt; \
	uv $(COMPILE) --extra supply -c $(LOCK) -o locks/supply.txt
