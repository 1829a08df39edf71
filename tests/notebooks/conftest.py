"""Lets these tests build results from the samples that stand with the tests of the report."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))
