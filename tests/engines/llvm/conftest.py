"""What the tests of the helping threads have in common."""

import pytest


@pytest.fixture
def shares_all(monkeypatch):
    """Every picture is shared, whatever else uses the machine's cores."""
    pytest.importorskip("llvmlite")
    from npmnv3.engines.llvm import engine
    from npmnv3.engines.llvm.threads import Team

    monkeypatch.setattr(engine, "SHARED_MACS", 0)
    monkeypatch.setattr(Team, "is_resting", False)
