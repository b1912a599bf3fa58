"""A provider that is none: for the demo, for tests, and for load tests that cost nothing.

It speaks the dialects of OpenAI, Anthropic and Google as these do, refuses what they refuse, answers with what it saw, and
fails on demand. ``script`` says what can be asked of it; ``requests`` reads, ``reply`` decides, ``answers`` writes.
"""

from apipod_proxy.simulator.run import Simulator, run, start
from apipod_proxy.simulator.server import make_app

__all__ = ["Simulator", "make_app", "run", "start"]
