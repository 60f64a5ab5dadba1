"""The same as service.c: above 512 bytes CPython asks malloc itself."""
import os
import select
import sys
import time


def leak_a_request():
    return bytes(700)


print(f"ready {os.getpid()}", flush=True)
sys.stdin.readline()
kept = []
blocks = [None] * 64
at = 0
while not select.select([sys.stdin], [], [], 0)[0]:
    blocks[at % 64] = bytes(600 + at % 64)
    kept.append(leak_a_request())
    at += 1
    time.sleep(0.01)
sys.stdin.readline()
print('{"leaked":%d}' % at)
print("done", flush=True)
sys.stdin.readline()
