import goldens
import pytest


@pytest.fixture(scope="session")
def golden_inputs():
    """(4, 3, 224, 224) float32: three photographs and a standard normal, as the golden runs got them."""
    return goldens.inputs()


@pytest.fixture(scope="session")
def shared():
    """The folder of material that may not be shipped; tests that need it are skipped where it is absent."""
    if not goldens.SHARED.is_dir():
        pytest.skip(f"needs {goldens.SHARED}, which is not here")
    return goldens.SHARED
