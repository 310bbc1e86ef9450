"""Figures for Prometheus: how long answers take, what is answered and refused, by which version."""

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tasks.serving.answer import Answer
from tasks.serving.follow import Now

# Upper bounds of the latency, in seconds, around what is promised: 60 and 200 ms.
BUCKETS = (0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2, 5, 10)


class Metrics:
    """The figures of one app, in a registry of their own."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self.registry = registry
        self.seconds = Histogram(
            "melanoma_answer_seconds",
            "Time from the received request to its answer.",
            ["path", "status"],
            registry=registry,
            buckets=BUCKETS,
        )
        self.answers = Counter(
            "melanoma_answers",
            "Answers about lesions, by decision and most probable class.",
            ["version", "decision", "most_probable"],
            registry=registry,
        )
        self.refusals = Counter(
            "melanoma_refusals",
            "Lesions that the model could not judge, by what was wrong with the image.",
            ["version", "ground"],
            registry=registry,
        )
        self.unreadable = Counter(
            "melanoma_unreadable_files", "Files that were no image.", registry=registry
        )
        self.lost = Counter(
            "melanoma_lost_traces",
            "Answers of which the drift test will know nothing.",
            registry=registry,
        )
        self.version = Gauge(
            "melanoma_model_version", "Version in use; 0: none.", ["standing"], registry=registry
        )
        self.kept = Counter(
            "melanoma_kept_lesions", "Lesions whose images are kept.", registry=registry
        )
        self.not_kept = Counter(
            "melanoma_lesions_not_kept",
            "Lesions whose images were to be kept, and could not be.",
            registry=registry,
        )
        self.problem = Gauge(
            "melanoma_following_problem",
            "1 while the version in use may not be the one that the ledger names.",
            registry=registry,
        )

    def count(self, answer: Answer) -> None:
        """Count one answer."""
        version = str(answer.model.version)
        likely = max(answer.probabilities, key=answer.probabilities.__getitem__, default="")
        self.answers.labels(version, answer.decision, likely).inc()
        for ground in {each.ground for each in answer.refused}:
            self.refusals.labels(version, ground).inc()

    def told(self, now: Now) -> bytes:
        """The figures in the text format of Prometheus."""
        for standing, model in (("champion", now.champion), ("challenger", now.challenger)):
            self.version.labels(standing).set(model.facts.version if model else 0)
        self.problem.set(1 if now.problem else 0)
        return bytes(generate_latest(self.registry))


class Timed:
    """An ASGI application around the app that measures how long each answer takes."""

    def __init__(self, app: ASGIApp, seconds: Histogram) -> None:
        self.app, self.seconds = app, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), "none"

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        try:
            await self.app(scope, receive, sent)
        finally:
            # Of a route that exists: a name from outside is no label.
            path = getattr(scope.get("route"), "path", "other")
            self.seconds.labels(path, status).observe(time.perf_counter() - began)
