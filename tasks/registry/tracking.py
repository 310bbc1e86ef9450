"""Log a training to MLflow: configuration, curves, the load of the machine.

MLflow may stop answering at any moment. Training goes on, and MLflow gets the missing figures when
it is back, at the latest from `register`.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tasks.curve import in_words
from tasks.engine.run import Run
from tasks.errors import Momentary
from tasks.records.record import sha256
from tasks.records.trained import Epoch, TrainedRecipe
from tasks.registry.versions import experiment_id, mlflow_client, mlflow_module

log = logging.getLogger(__name__)

SECONDS_BETWEEN_TRIES = 60  # if a server does not answer, each try costs about 15 s
METRICS_AT_ONCE = 1000  # MLflow's own limit


class Diary:
    """One MLflow run. A training that resumes after a kill continues its run.

    Args:
        run: The run of the pipeline.
        recipe: The recipe that is trained.
        classes: Order of the network's outputs.
        work: Hash of everything that the trained weights depend on.
        data: Hash of each record that the training reads.
    """

    def __init__(
        self, run: Run, recipe: str, classes: tuple[str, ...], work: str, data: dict[str, str]
    ) -> None:
        self.run, self.recipe, self.classes = run, recipe, classes
        self.tags = {"work": sha256(f"{run.uri} {work}".encode()), "run": run.uri} | data
        self.id, self.logged, self.next_try = "", 0, 0.0

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Also log the load of the machine inside the context."""
        monitor: Any = None
        try:
            self.log(())
            if self.id:
                metrics = mlflow_module("mlflow.system_metrics.system_metrics_monitor")
                monitor = metrics.SystemMetricsMonitor(self.id, resume_logging=True)
                monitor.start()
            yield
        finally:
            if monitor:
                monitor.finish()

    def log(self, epochs: tuple[Epoch, ...]) -> None:
        """Log the epochs that MLflow does not know yet, if MLflow answers."""
        if time.monotonic() < self.next_try:
            return
        try:
            self._send(epochs)
        except Momentary as error:
            self.next_try = time.monotonic() + SECONDS_BETWEEN_TRIES
            log.warning("Training goes on without MLflow: %s", error)

    def closed(self, trained: TrainedRecipe) -> str:
        """The id of the complete MLflow run; empty if MLflow does not answer."""
        try:
            return self.complete(trained)
        except Momentary as error:
            log.warning("The step register will log this training to MLflow: %s", error)
            return ""

    def complete(self, trained: TrainedRecipe) -> str:
        """Log the whole training. Raises `Momentary`."""
        entities = mlflow_module("mlflow.entities")
        self._send(trained.epochs)
        facts = {
            "model_sha256": trained.model.sha256,
            "finding": in_words(trained),
            "computed_on": trained.computed_on,
            "best_epoch": str(trained.best_epoch),
        }
        config = self.run.config.model_dump(mode="json") | {
            "recipe": self.recipe,
            "temperature": trained.temperature,
        }
        with mlflow_client(self.run.store) as client:
            client.log_batch(
                self.id,
                params=[entities.Param(name, str(value)) for name, value in config.items()],
                tags=[entities.RunTag(name, value) for name, value in facts.items()],
            )
            client.set_terminated(self.id)
        return self.id

    def _send(self, epochs: tuple[Epoch, ...]) -> None:
        metric = mlflow_module("mlflow.entities").Metric
        with mlflow_client(self.run.store) as client:
            if not self.id:
                self.id = self._found(client) or self._made(client)
            now_ms = int(1000 * time.time())
            metrics = [
                metric(name, value, now_ms, step)
                for step, epoch in enumerate(epochs, start=1)
                if step > self.logged
                for name, value in self._figures(epoch).items()
            ]
            for start in range(0, len(metrics), METRICS_AT_ONCE):
                client.log_batch(self.id, metrics=metrics[start : start + METRICS_AT_ONCE])
        self.logged = max(self.logged, len(epochs))

    def _found(self, client: Any) -> str:
        """The MLflow run of an earlier attempt at this work that was killed."""
        found = client.search_runs(
            [experiment_id(client, self.run.store)], f"tags.work = '{self.tags['work']}'"
        )
        if not found:
            return ""
        history = client.get_metric_history(found[0].info.run_id, "val_loss")
        self.logged = max((each.step for each in history), default=0)
        return str(found[0].info.run_id)

    def _made(self, client: Any) -> str:
        made = client.create_run(
            experiment_id(client, self.run.store),
            run_name=f"{self.run.name} {self.recipe}",
            tags=self.tags,
        )
        return str(made.info.run_id)

    def _figures(self, epoch: Epoch) -> dict[str, float]:
        figures = epoch.model_dump(exclude={"val_recall"})
        recalls = zip(self.classes, epoch.val_recall, strict=True)
        return figures | {f"val_recall/{name}": each for name, each in recalls if each is not None}
