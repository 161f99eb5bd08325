"""Run a program that dies with its parent, as a given user.

`parent_death.py PARENT SIGNAL UID GID REACH program args…`: a file to execute, not to import. It
sets up the process and becomes the program, so that nothing has to happen between fork and exec of
a parent with threads. Linux; elsewhere only the user is changed, and what a killed parent leaves is
ended by the next start (`folder.py`).
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG, PR_SET_KEEPCAPS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 1, 8, 47, 2
CAP_VERSION_3 = 0x20080522
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2


def become(uid: int, gid: int, *, reach: bool) -> None:
    """Another user; `reach` keeps the right to pass through folders that are closed to it."""
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    if libc and reach:
        libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if libc and reach:
        any(keep(libc, capability) for capability in (CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE))


def keep(libc: ctypes.CDLL, capability: int) -> bool:
    """Keep one capability across exec; False where the container has taken it away."""
    bit = 1 << capability
    header = (ctypes.c_uint32 * 2)(CAP_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)
    if libc.capset(header, data) != 0:
        return False
    return bool(libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) == 0)


def die_with(parent: int, signum: int) -> None:
    """Ask for a signal on the parent's death; after setuid, which forgets it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signum, 0, 0, 0)
    if os.getppid() != parent:  # it died before we asked
        os._exit(1)


def main() -> None:
    parent, signum, uid, gid, reach, *program = sys.argv[1:]
    os.umask(0o077)
    if int(uid) != os.geteuid():
        become(int(uid), int(gid), reach=reach == "True")
    die_with(int(parent), int(signum))
    os.execv(program[0], program)  # noqa: S606


if __name__ == "__main__":
    main()
