"""The CSV of results: a row for each picture and model, in the data's order, and the way on from one that was cut off.

Rows are only ever appended, whole batches at a time, so whatever stops a run leaves whole rows and at most one that is
half-written. `take_over` cuts that one off. Every row says which job it is of; a file of another job is refused.
"""

import csv
import os
from typing import NamedTuple

from ..dumps.writing import writing
from ..errors import UsageError, WriteError


class Row(NamedTuple):
    """A picture's result with one model, as text.

    file : the picture, below the data's root
    label : index of its class, or what the data call it if the model has no such class
    model : the model's title
    top1 : index of the most probable class; empty if the picture is unreadable
    top5 : the five most probable, separated by spaces
    probabilities : theirs
    error : why it does not count, or empty
    job : fingerprints of the model and of the data
    """

    file: str
    label: str
    model: str
    top1: str
    top5: str
    probabilities: str
    error: str
    job: str

    def line(self):
        """The row's bytes in the file."""
        return (",".join(map(_quoted, self)) + "\n").encode("utf-8", "surrogateescape")


def _quoted(text):
    if any(char in text for char in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


HEADER = Row(*Row._fields).line()


class Writer:
    """Appends rows to a CSV, or to nothing if `path` is None.

    Parameters
    ----------
    path : path or None
    fresh : bool, begin a new file rather than go on with one
    """

    def __init__(self, path, fresh):
        self._path, self._file = path, None
        if path is None:
            return
        with writing(path):
            self._file = open(path, "wb" if fresh else "ab", buffering=0)
            begun = self._file.seekable() and self._file.tell() > 0
        if not begun:
            self._begin()

    def _begin(self):
        """Write the header; where there is no room even for that, there is no file."""
        try:
            self._append(HEADER)
        except BaseException:
            self._file.close()
            if os.path.isfile(self._path):
                os.remove(self._path)
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._file:
            self._file.close()

    def write(self, data):
        """Append bytes; they are the operating system's when this returns, whatever happens to this process."""
        if self._file is None:
            return
        try:
            self._append(data)
        except WriteError as error:
            raise WriteError(f"{error}; --resume goes on from it") from error

    def _append(self, data):
        with writing(self._path):
            rest = memoryview(data)
            while rest:
                rest = rest[self._file.write(rest) :]


def take_over(path, pictures, jobs, on_row):
    """Take over the rows that an earlier run finished, and cut off what it did not.

    Parameters
    ----------
    path : of the CSV; it need not exist, or be a file
    pictures : sequence of Picture, all of the job
    jobs : {model's title: fingerprints}, in the order of the rows
    on_row : callable, gets each Row taken over

    Returns
    -------
    int, pictures that are done

    Raises
    ------
    UsageError
        The file is no such CSV, is damaged, or is of another job.
    """
    if not os.path.isfile(path):
        return 0
    done, kept = 0, 0
    try:
        with open(path, "rb") as file:
            rows, waiting = _whole_rows(path, file), []
            for row, end in rows:
                if row.line() == HEADER and not kept:
                    kept = end
                    continue
                title, job = list(jobs.items())[len(waiting)]
                _check(path, row, pictures[done].file if done < len(pictures) else None, title, job)
                waiting.append(row)
                if len(waiting) == len(jobs):  # a picture counts when all models have seen it
                    for finished in waiting:
                        on_row(finished)
                    done, kept, waiting = done + 1, end, []
        os.truncate(path, kept)
    except OSError as error:
        raise UsageError(f"{path}: cannot be resumed: {error.strerror or error}") from error
    return done


def _whole_rows(path, file):
    """(Row, its end in bytes) of each whole row, the header first; a half-written one at the end is left out."""
    read, end = [], 0

    def lines():
        for line in file:
            read.append(line)
            yield line.decode("utf-8", "surrogateescape")

    records = csv.reader(lines(), strict=True)
    while True:
        try:
            record = next(records, None)
        except csv.Error:
            record = []
        raw = b"".join(read)
        read.clear()
        if record is None:
            return
        row = Row(*record) if len(record) == len(Row._fields) else None
        first = end == 0
        if row is None or row.line() != raw or (first and raw != HEADER):
            if file.read(1) or (first and not HEADER.startswith(raw)):
                raise UsageError(
                    f"{path}: not a result of npmnv3 evaluate, or damaged, at byte {end}; give another --csv"
                )
            return
        end += len(raw)
        yield row, end


def _check(path, row, file, title, job):
    """Refuse a row that this job would not have written."""
    model, data = job.split("-")
    wrong = None
    if row.model != title:
        wrong = f"it is of the model {row.model}, expected {title}"
    elif row.job.partition("-")[0] != model:
        wrong = f"the weights, labels, preprocessing, engine or machine of {title} are not those that it was made with"
    elif row.job.partition("-")[2] != data or row.file != file:
        wrong = f"the pictures, their labels or the limit are not those that it was made with (at {row.file})"
    if wrong:
        raise UsageError(
            f"{path}: cannot be resumed, it is of another job: {wrong}; give another --csv, or leave out --resume"
        )
