"""Becomes another program after arranging that it dies with the process that started it.

Run as a script, by `Child`: `launch.py --parent PID --signal N [--unprivileged] -- COMMAND...`. It replaces itself by
exec, so its pid is the program's. A separate program rather than a `preexec_fn`: that may deadlock in a process with
threads. Standard library only, started with `-I -S`, so it costs about 15 ms.
"""

import ctypes
import os
import pwd
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_KEEPCAPS = 8
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAPABILITY_VERSION_3 = 0x20080522
_CAP_DAC_OVERRIDE = 1
_UNPRIVILEGED = "nobody"


def main(arguments: list[str]) -> None:
    """Drop root if asked, tie this process to its parent's life, then exec the command."""
    options, command = arguments[: arguments.index("--")], arguments[arguments.index("--") + 1 :]
    parent = int(options[options.index("--parent") + 1])
    death_signal = int(options[options.index("--signal") + 1])
    libc = ctypes.CDLL(None, use_errno=True)
    if "--unprivileged" in options and os.geteuid() == 0:
        _drop_root(libc)
    if sys.platform == "linux":
        # After the change of user, which clears it.
        libc.prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
        if os.getppid() != parent:  # the parent died before we got this far
            sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606 - this is what the script is for


def _drop_root(libc: ctypes.CDLL) -> None:
    """Become `nobody`, still able to read below directories only root may enter (a checkout in /root).

    Postgres refuses to run as root. Keeping the one capability avoids opening root's directories to everybody.
    """
    user = pwd.getpwnam(_UNPRIVILEGED)
    libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
    os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    bit = 1 << _CAP_DAC_OVERRIDE
    sets = (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)  # effective, permitted, inheritable; then the upper 32 bits
    if libc.capset(header, sets) == 0:
        libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE, 0, 0)
    os.environ["HOME"] = "/"


if __name__ == "__main__":
    main(sys.argv[1:])
