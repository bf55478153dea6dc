"""Logs: one line of JSON each, on standard output."""

import json
import logging
import sys
import time


def info(message, **fields):
    """Something that is as it should be."""
    _line("info", message, fields)


def error(message, **fields):
    """Something that somebody should look at."""
    _line("error", message, fields)


def _line(level, message, fields):
    line = {"time": time.time(), "level": level, "message": message, **fields}
    try:
        print(json.dumps(line), flush=True)
    except OSError:
        # A closed log is no reason to stop serving.
        sys.stdout = sys.__stderr__


class _Handler(logging.Handler):
    def emit(self, record):
        text = record.getMessage()
        if record.exc_info:
            text += ": " + self.formatter.formatException(record.exc_info)
        _line(record.levelname.lower(), text, {})


def take_over():
    """Write what libraries log as lines of JSON too."""
    handler = _Handler(logging.WARNING)
    handler.setFormatter(logging.Formatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
