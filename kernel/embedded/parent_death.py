"""Run a program that dies with its parent, as a given user.

`parent_death.py PARENT SIGNAL UID GID REACH program args…`: a file to execute, not to import. It
sets up the process and executes the program, so that a parent with threads runs no code between
fork and exec. Outside Linux only the user is changed, and the next start ends the servers that a
killed parent left (`folder.py`).
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG, PR_SET_KEEPCAPS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 1, 8, 47, 2
CAP_VERSION_3 = 0x20080522
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2


def switch_user(uid: int, gid: int, *, reach: bool) -> None:
    """Switch to another user. reach: keep the right to traverse folders that are closed to it."""
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    if libc and reach:
        libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if libc and reach:
        any(
            keep_capability(libc, capability)
            for capability in (CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE)
        )


def keep_capability(libc: ctypes.CDLL, capability: int) -> bool:
    """Keep one capability across exec; False if the container does not grant it."""
    bit = 1 << capability
    header = (ctypes.c_uint32 * 2)(CAP_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)
    if libc.capset(header, data) != 0:
        return False
    return bool(libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) == 0)


def die_with_parent(parent: int, signum: int) -> None:
    """Request a signal at the parent's death; call it after setuid, which resets this."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signum, 0, 0, 0)
    if os.getppid() != parent:  # the parent died first
        os._exit(1)


def main() -> None:
    parent, signum, uid, gid, reach, *program = sys.argv[1:]
    os.umask(0o077)
    if int(uid) != os.geteuid():
        switch_user(int(uid), int(gid), reach=reach == "True")
    die_with_parent(int(parent), int(signum))
    os.execv(program[0], program)  # noqa: S606


if __name__ == "__main__":
    main()
