"""Keeps 100 bytes objects of 100,000 bytes: above 512 bytes CPython asks malloc itself.

A bytes object is its header of 33 bytes and its content."""
import os
import sys

BLOCKS, SIZE, HEADER = 100, 100_000, sys.getsizeof(b"")

sys.stdout.write(f"ready {os.getpid()}\n")
sys.stdout.flush()
sys.stdin.readline()


def leak():
    return bytes(SIZE)


kept = [leak() for _ in range(BLOCKS)]
for _ in range(50):
    dropped = leak()
    del dropped
sys.stdout.write('{"block":%d,"blocks":%d}\n' % (SIZE + HEADER, BLOCKS))
sys.stdout.write("done\n")
sys.stdout.flush()
sys.stdin.readline()
