"""
A wall clock that jumps for some processes and for nobody else: the machine's own is not touched.

A few lines of C, loaded before the C library, shift what ``clock_gettime(CLOCK_REALTIME)``, ``gettimeofday``
and ``time`` say by the
number that a file holds. Python, SQLite and redis-server all ask in this way. The monotonic clock stays what
it is, as in life.
"""

import mmap
import os
import struct
import subprocess
from contextlib import contextmanager
from unittest.mock import patch

__all__ = ["Clock"]

_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

static volatile long long *offset;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("SOAK_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *mapped = file < 0 ? MAP_FAILED : mmap(0, sizeof *offset, PROT_READ, MAP_SHARED, file, 0);
    if (mapped != MAP_FAILED) offset = mapped;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(clock, now);
    int is_wall_clock = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
    if (!failed && offset && is_wall_clock) now->tv_sec += *offset;
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec precise;
    if (clock_gettime(CLOCK_REALTIME, &precise)) return -1;
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *result) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (result) *result = precise.tv_sec;
    return precise.tv_sec;
}
"""


class Clock:
    """
    A clock in a folder.

    Args:
        folder (Path): Where its library and its offset are made; needs ``cc``.
    """

    def __init__(self, folder):
        source, library, offset = folder / "clock.c", folder / "clock.so", folder / "clock"
        source.write_text(_SOURCE)
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
        offset.write_bytes(struct.pack("q", 0))
        self.environ = {"LD_PRELOAD": str(library), "SOAK_CLOCK": str(offset)}
        """For the processes that have this clock."""
        with offset.open("r+b") as file:
            self._offset = mmap.mmap(file.fileno(), 8)

    def jump(self, seconds):
        """Be off by so many seconds from now on."""
        self._offset[:] = struct.pack("q", seconds)

    @contextmanager
    def for_children(self):
        """Whatever is started in this block has this clock."""
        with patch.dict(os.environ, self.environ):
            yield
