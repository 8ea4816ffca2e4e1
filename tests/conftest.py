import os

# Before NumPy is first imported, for the processes that tests start, too. OpenBLAS's other threads cost twice the processor's
# time on matrices as small as a MobileNet's, and a test run has as many processes as cores.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import goldens  # noqa: E402
import pytest  # noqa: E402


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A file's tests go to one process: what they share, and networks that they draw, is made once."""
    from xdist.scheduler import LoadFileScheduling

    return LoadFileScheduling(config, log)


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
