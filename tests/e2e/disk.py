"""A small disk of the test's own: nothing here ever fills the machine's."""

import contextlib
import fcntl
import os
import pathlib
import struct
import subprocess

from cluster import eventually

# ext4 behaves as if its disk had been pulled; what was flushed before is there.
EXT4_IOC_SHUTDOWN, FLUSH_LOG = 0x8004587D, struct.pack("I", 1)


class Disk:
    """A small file system that can be filled, broken and made well."""

    def __init__(self, image, target, megabytes):
        self.image, self.target = image, target
        with image.open("wb") as file:
            file.truncate(megabytes << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", image], check=True)
        target.mkdir()
        self.mount()

    def mount(self):
        subprocess.run(["mount", "-o", "loop", self.image, self.target], check=True)

    def unmount(self):
        for path in reversed(sorted(mounts_below(self.target))):
            subprocess.run(["umount", path], check=True)
        # A process that is just making a mount namespace has it too, for a moment.
        eventually(lambda: not loop_devices(self.image), f"nobody has {self.image} mounted any more")

    def fill(self):
        with (self.target / "hog").open("wb", buffering=0) as hog:
            try:
                while hog.write(bytes(1 << 16)):
                    pass
            except OSError:
                pass

    def free(self):
        (self.target / "hog").unlink()

    def die(self):
        descriptor = os.open(self.target, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, EXT4_IOC_SHUTDOWN, FLUSH_LOG)
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def frozen(self):
        """Whoever writes to it waits."""
        subprocess.run(["fsfreeze", "--freeze", self.target], check=True)
        try:
            yield
        finally:
            subprocess.run(["fsfreeze", "--unfreeze", self.target], check=True)


def loop_devices(image):
    listed = subprocess.run(["losetup", "--associated", image], capture_output=True, text=True, check=True)
    return listed.stdout.split()


def mounts_below(directory):
    targets = [line.split()[4] for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines()]
    return [target for target in targets if pathlib.Path(target).is_relative_to(directory)]
