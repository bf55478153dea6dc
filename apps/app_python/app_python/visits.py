"""The count: plain text in a file, durable before a visit is answered.

One thread writes the file. It takes all visits that wait, writes their sum, flushes once, and they
are all answered: many visits share one flush. The text is overwritten in place, within one sector,
so that a torn write cannot mix two numbers; it never gets shorter. What somebody else writes to the
file is seen before the next visit: another number counts on, anything else is an error, and a file
that was removed comes back with the count it had.
"""

import asyncio
import concurrent.futures
import contextlib
import os

# Bytes that are read of the file; a number has at most 20 digits.
TEXT_MAX = 64
COUNT_MAX = 2**64 - 1


class VisitsError(Exception):
    """The count cannot be read or written; the text says why. The file is left as it is."""


class Visits:
    """The count of one replica, for the tasks of one event loop."""

    def __init__(self, path):
        self._file = _File(path)
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "visits")
        self._waiting = []
        self._task = None

    async def count(self):
        """Count one visit; the new count, once it is durable. VisitsError: it is not counted."""
        return await self._ask(1)

    async def read(self):
        """The durable count."""
        return await self._ask(0)

    async def _ask(self, visits):
        answer = asyncio.get_running_loop().create_future()
        self._waiting.append((answer, visits))
        if self._task is None:
            self._task = asyncio.create_task(self._answer_all())
        return await answer

    async def _answer_all(self):
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting, []
            visits = sum(visit for _, visit in batch)
            try:
                after = await loop.run_in_executor(self._thread, self._file.add, visits)
            except VisitsError as error:
                _answer(batch, lambda _, error=error: error)
            else:
                _send(batch, after, visits)
        self._task = None


def _send(batch, after, visits):
    number = after - visits
    for answer, visit in batch:
        number += visit
        # A client that went away wants no answer; its visit is counted.
        if not answer.done():
            answer.set_result(number if visit else after)


def _answer(batch, error):
    for answer, _ in batch:
        if not answer.done():
            answer.set_exception(error(answer))


class _File:
    """The file, used by one thread. `_durable` is the number that was flushed last."""

    def __init__(self, path):
        self._path = path
        self._descriptor = None
        self._durable = 0

    def add(self, visits):
        """Add so many visits; the new count, durable."""
        if not self._is_as_written():
            self._close()
            self._open()
        if not visits:
            return self._durable
        if self._durable + visits > COUNT_MAX:
            raise VisitsError(f"cannot write {self._path}: the number would be too large")
        try:
            self._write(self._durable + visits)
        except OSError as error:
            # These visits are refused, so they must not be in the file after a restart. If the disk
            # refuses that too, the old number is still what was flushed last.
            with contextlib.suppress(OSError):
                self._write(self._durable)
            self._close()
            raise VisitsError(f"cannot write {self._path}: {error.strerror}") from error
        self._durable += visits
        return self._durable

    def _is_as_written(self):
        if self._descriptor is None:
            return False
        try:
            linked = os.fstat(self._descriptor).st_nlink > 0
            return linked and os.pread(self._descriptor, TEXT_MAX, 0) == _text(self._durable)
        except OSError:
            return False

    def _open(self):
        try:
            try:
                self._descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                _create(self._path, _text(self._durable))
                self._descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
            text = os.pread(self._descriptor, TEXT_MAX, 0)
            number = _number(text)
            if number is None:
                self._close()
                shown = text.decode(errors="replace")
                raise VisitsError(f"{self._path} holds {shown!r}, which is no number: "
                                  "repair it by hand, nothing was changed")
            # Proves that the file can be written, and leaves nothing behind the number.
            self._write(number)
            self._durable = number
        except OSError as error:
            self._close()
            raise VisitsError(f"cannot open {self._path}: {error.strerror}") from error

    def _write(self, number):
        text = _text(number)
        if os.pwrite(self._descriptor, text, 0) != len(text):
            raise OSError(28, "No space left on device")
        if os.fstat(self._descriptor).st_size != len(text):
            os.ftruncate(self._descriptor, len(text))
        os.fdatasync(self._descriptor)

    def _close(self):
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            with contextlib.suppress(OSError):
                os.close(descriptor)


def _text(number):
    """What the file holds after so many visits."""
    return b"%d\n" % number


def _number(text):
    """The number in the file, or None.

    A crash of the machine between the growth of the file by one digit and the digits themselves
    leaves the old text and a zero byte: the old count, which is the durable one.
    """
    text = text.removesuffix(b"\n\0") if text.endswith(b"\n\0") else text
    text = text.strip()
    return int(text) if text.isdigit() and int(text) <= COUNT_MAX else None


def _create(path, text):
    """A new file that holds `text`: whole or not at all."""
    partial = path.with_suffix(".new")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        if os.write(descriptor, text) != len(text):
            raise OSError(28, "No space left on device")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.rename(partial, path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
