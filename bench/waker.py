"""A bare process that wakes as often as an engine at rest and does next to nothing: the yardstick of
its CPU, for a machine of many guests makes each wake cost up to a hundred times what it costs a busy
process."""

import os
import pathlib
import sys
import tempfile
import threading
import time

# Seconds between two looks at what is mounted, and looks between two signs of life.
LOOK = 3
LOOKS = 3


def look():
    pathlib.Path("/proc/self/mountinfo").read_bytes()


def sign(file):
    os.pwrite(file, b"x" * 4096, 0)
    os.fdatasync(file)


def main():
    with tempfile.TemporaryFile(dir=sys.argv[1]) as file:
        while True:
            for part in [(look,)] * LOOKS + [(sign, file.fileno())]:
                if part[0] is look:
                    time.sleep(LOOK)
                thread = threading.Thread(target=part[0], args=part[1:])
                thread.start()
                thread.join()


if __name__ == "__main__":
    main()
