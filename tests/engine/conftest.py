"""A pipeline of small steps."""

import sys
from types import ModuleType

import pytest

from tasks.engine.store import Store
from tests.support.world import ASK, COUNT, DRAW, World


@pytest.fixture
def world(store: Store, monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(store)
    for step in (DRAW, COUNT, ASK):
        module = ModuleType(f"tasks.{step.name}")
        setattr(module, step.name, getattr(world, step.name))
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr("tasks.pipeline.PIPELINE", (DRAW, COUNT, ASK))
    monkeypatch.setattr("tasks.engine.sources.code_hash", lambda name: world.code[name])
    monkeypatch.setattr("tasks.engine.reuse.metadata.version", lambda name: world.libraries[name])
    return world
