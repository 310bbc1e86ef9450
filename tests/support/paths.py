"""Where things lie, for tests."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
CASES = ROOT.parent / "shared" / "cases" / "inputs"
FIXTURES = ROOT / "tests" / "fixtures"
