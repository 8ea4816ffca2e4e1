"""A picture from a URL: downloaded as weights are, into a folder that vanishes, its bytes handed on."""

import os
import pathlib
import tempfile

from ..dumps.writing import writing
from ..errors import MissingWeightsError, PictureError, WeightsError
from .download import Downloader

MAX_SIZE = 1 << 27  # bytes: a picture of the most pixels that are decoded is rarely half of it


def fetch_picture(url, **settings):
    """The bytes of the file at a URL, http or https.

    Parameters
    ----------
    url : str
    settings : further ones of `download.Downloader`

    Returns
    -------
    bytes

    Raises
    ------
    PictureError
        It cannot be fetched, or is larger than `MAX_SIZE`.
    WriteError
        There is no room for a temporary file.
    MissingExtraError
    """
    try:
        with writing(tempfile.gettempdir()), tempfile.TemporaryDirectory(prefix="npmnv3-") as folder:
            path = pathlib.Path(folder, "picture")
            path.touch()
            Downloader(folder, **{"max_size": MAX_SIZE, **settings})(url, os.fspath(path), None)
            return path.read_bytes()
    except (MissingWeightsError, WeightsError) as error:
        raise PictureError(str(error)) from error
    except ValueError as error:  # no host, a port that is no number, letters that no URL has
        raise PictureError(f"{url} cannot be fetched: {error}") from error
