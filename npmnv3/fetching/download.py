"""Download over HTTP, going on where a broken connection stopped: a downloader for pooch, whose own begins anew."""

import hashlib
import http.client
import os
import re
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request

from .. import __version__
from ..errors import MissingWeightsError, WeightsError, require

TIMEOUT = 30.0  # seconds without a byte
PAUSES = (0.5, 1.0, 2.0, 4.0)  # seconds before each further try, as long as no new byte comes
MAX_SIZE = 1 << 28  # bytes: no published file of these networks is near it
CHUNK = 1 << 16  # bytes
DEADLINE = 120.0  # seconds that any download may take,
SLOWEST = 16_384  # bytes a second: and one more for so many of them, be it as lively as it may
SPAN = 30.0  # seconds after which the speed over such a span is looked at: slower is as good as a broken connection
PASSING = (408, 425, 429, 500, 502, 503, 504)  # what a server answers that may answer otherwise a moment later


class Downloader:
    """What `pooch.retrieve` takes as its downloader.

    A connection that breaks is opened again for the rest of the file (HTTP Range), on condition that it is still the
    same file (If-Range); a server that knows no ranges sends it from the start. What an interrupted run got is kept
    as a .part file. Its name is a hash of the URL and of what the server calls this version, so that no other file is
    gone on with.

    Parameters
    ----------
    parts : folder of the .part files
    tell : callable (bytes so far, bytes in all or None), called as they come
    timeout, pauses, deadline, span : seconds, see `TIMEOUT`, `PAUSES`, `DEADLINE` and `SPAN`
    slowest : bytes a second, see `SLOWEST`
    max_size : bytes that the file may have
    """

    def __init__(
        self,
        parts,
        tell=lambda done, total: None,
        *,
        timeout=TIMEOUT,
        pauses=PAUSES,
        deadline=DEADLINE,
        slowest=SLOWEST,
        span=SPAN,
        max_size=MAX_SIZE,
    ):
        self.parts, self.tell, self.timeout, self.pauses = os.fspath(parts), tell, timeout, pauses
        self.deadline, self.slowest, self.span, self.max_size = deadline, slowest, span, max_size

    def __call__(self, url, output_file, pooch):
        """Download `url` to the path `output_file`.

        Raises
        ------
        MissingWeightsError
            The server cannot be reached, does not have the file, breaks off again and again, or is too slow.
        WeightsError
            The file is larger than `max_size`.
        """
        transfer = _Transfer(url, os.fspath(output_file), self)
        try:
            self._insist(transfer)
        except (MissingWeightsError, KeyboardInterrupt):
            transfer.keep_part()
            raise

    def _insist(self, transfer):
        """Try until the file is whole; a server that never answered gets one more try, others as many as pauses."""
        furthest = failures = 0
        while True:
            try:
                return transfer.go_on()
            except _BrokenError as error:
                failures = 0 if transfer.done > furthest else failures + 1
                furthest = max(furthest, transfer.done)
                if failures > (len(self.pauses) if transfer.answered else 1):
                    raise MissingWeightsError(f"{transfer.url} cannot be fetched: {error}") from error
            time.sleep(self.pauses[max(failures - 1, 0)])


class _BrokenError(Exception):
    """The connection failed or ended early; another one may do."""


class _Transfer:
    """One file on its way: `done` bytes of `total` are in the file `path`."""

    def __init__(self, url, path, settings):
        self.url, self.path, self.settings = url, path, settings
        self.done, self.total, self.version, self.answered = 0, None, "", False
        self.begun = time.monotonic()
        self._opener = _opener()

    def go_on(self):
        """Ask for what is missing and write it."""
        with self._ask() as response:
            if response.status == 206:
                self._check_range(response)
            else:
                self._begin(response)
            if response.status == 206 or not self._claim_part():
                return self._receive(response)
        return self.go_on()

    def keep_part(self):
        """Leave what there is for the next run, if that can tell by the server's answer that it is of the same file."""
        if self.done and self.version:
            os.replace(self.path, self._part())

    def _part(self):
        digest = hashlib.sha256(f"{self.url}\n{self.version}\n{self.total}".encode()).hexdigest()
        return os.path.join(self.settings.parts, f"{digest[:32]}.part")

    def _claim_part(self):
        """Take over an earlier run's part; moving it makes sure that no other process does."""
        try:
            os.replace(self._part(), self.path)
        except FileNotFoundError:
            return False
        self.done = os.path.getsize(self.path)
        return True

    def _ask(self):
        headers = {"User-Agent": f"npmnv3/{__version__}", "Accept-Encoding": "identity"}
        if self.done:
            headers["Range"] = f"bytes={self.done}-"
            if self.version:
                headers["If-Range"] = self.version
        request = urllib.request.Request(self.url, headers=headers)
        try:
            response = self._opener.open(request, timeout=self.settings.timeout)
        except urllib.error.HTTPError as error:
            error.close()
            self.answered = True
            answer = f"the server answers {error.code} {error.reason}"
            if error.code == 416:  # the part is no part of what is there now
                self.done = 0
            if error.code in (416, *PASSING):
                raise _BrokenError(answer) from error
            raise MissingWeightsError(f"{self.url} cannot be fetched: {answer}") from error
        except (OSError, http.client.HTTPException) as error:
            raise _BrokenError(_reason(error)) from error
        self.answered = True
        return response

    def _begin(self, response):
        """The server sends the file from its start."""
        length, etag = response.headers.get("Content-Length", ""), response.headers.get("ETag", "")
        self.done, self.total = 0, int(length) if length.isdecimal() else None
        self.version = etag if etag.startswith('"') else response.headers.get("Last-Modified", "")
        self._check_size(self.total or 0)

    def _check_range(self, response):
        found = response.headers.get("Content-Range", "")
        parts = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", found)
        if not parts or int(parts[1]) != self.done or parts[2] not in ("*", str(self.total)):
            message = (
                f"the server answers with the range {found!r}, expected one from {self.done} of {self.total} bytes"
            )
            self.done = 0
            raise _BrokenError(message)

    def _check_size(self, size):
        if size > self.settings.max_size:
            raise WeightsError(
                f"{self.url} has {size} bytes or more, expected at most {self.settings.max_size}; not fetched"
            )

    def _receive(self, response):
        with open(self.path, "r+b") as out:
            out.seek(self.done)
            out.truncate()
            pace = time.monotonic(), self.done
            while chunk := self._read(response):
                self._check_size(self.done + len(chunk))
                out.write(chunk)
                self.done += len(chunk)
                self.settings.tell(self.done, self.total)
                pace = self._check_pace(*pace)
        if self.total is not None and self.done != self.total:
            message = f"the connection ended after {self.done} of {self.total} bytes"
            self.done = self.done if self.done < self.total else 0
            raise _BrokenError(message)

    def _check_pace(self, since, had):
        """Give up on a server that sends just enough to be waited for; (time, bytes) that the speed is measured from."""
        settings, now = self.settings, time.monotonic()
        deadline = settings.deadline + (self.total or self.done) / settings.slowest
        if now - self.begun > deadline and self.done != self.total:
            raise MissingWeightsError(
                f"{self.url} cannot be fetched: {self.done:,} of {self.total or 'unknown'} bytes in {deadline:.0f} s, which is "
                "as long as is waited for a file of this size"
            )
        if now - since < settings.span:
            return since, had
        if self.done - had < settings.slowest * (now - since) and self.done != self.total:
            raise _BrokenError(
                f"{(self.done - had) / (now - since):,.0f} bytes a second, less than {settings.slowest:,}"
            )
        return now, self.done

    def _read(self, response):
        try:
            return response.read1(CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise _BrokenError(_reason(error)) from error


def _reason(error):
    """What a network error says, without its wrapping."""
    return str(getattr(error, "reason", None) or error) or type(error).__name__


def _opener():
    """An opener that trusts the system's certificates and certifi's: some Pythons come without the first."""
    context = ssl.create_default_context()
    context.load_verify_locations(require("certifi", "fetch", "fetching over https").where())
    return urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), _HttpAlone())


class _HttpAlone(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https only, and none from https to http."""

    def redirect_request(self, request, file, code, message, headers, url):
        found, before = (urllib.parse.urlsplit(place).scheme.lower() for place in (url, request.full_url))
        if found not in ("http", "https") or (before == "https" and found == "http"):
            raise MissingWeightsError(
                f"{request.full_url} cannot be fetched: it leads to {url[:200]}; only http and https are followed, and none "
                "from https to http"
            )
        return super().redirect_request(request, file, code, message, headers, url)
