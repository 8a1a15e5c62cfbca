"""The process between the harness and a confined program. Standard library only: run as `python -I -S launcher.py`.

    launcher.py PLAN COMMAND…

PLAN is JSON: `parent` (pid), `limits` (RLIMIT name → value), `processes` (most at a time) and, for Landlock, `landlock`
({"abi", "readable", "writable", "devices", "network"}). The program is a child; whatever it leaves behind, daemons of
daemons included, is killed when it ends, when this process gets SIGTERM, or when the harness dies. Exits with the
program's code, 128 + N when signal N killed it, 125 when it could not be confined.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import signal
import struct
import sys
import time

TYPE_CHECKING = False  # as type checkers know it; importing `typing` would be a tenth of this process's start
if TYPE_CHECKING:
    from typing import Any

    Plan = dict[str, Any]

NOT_CONFINED = 125
TOO_MANY = 137
LOOK_SECONDS = 0.05
GUARD_SECONDS = 2.0
AT_A_TIME = 200
"""Ended processes collected in one go: a fork bomb ends as many as it starts, and must not keep us from counting."""
LONGEST_KILL_SECONDS = 5.0
"""A process in an uninterruptible wait dies when the kernel lets it; nobody waits for that."""

# prctl(2) and landlock(7), from the kernel's user-space headers.
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 22, 24, 36, 38
SECCOMP_MODE_FILTER = 2
PF_EXITING = 4
"""A process's flag, once it runs nothing any more and the kernel only clears up after it: namespaces take a while."""
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
MAKE_CHAR, MAKE_BLOCK, TRUNCATE, IOCTL_DEV = 1 << 6, 1 << 11, 1 << 14, 1 << 15
ALL_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
ALL_RIGHTS_NOW = (1 << 16) - 1
READING = EXECUTE | READ_FILE | READ_DIR
FILE_RIGHTS = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
SCOPE_ABSTRACT_SOCKETS, SCOPE_SIGNALS = 1, 2

SYSTEM_CALLS = {
    "x86_64": (0xC000003E, {"socket": 41, "truncate": 76, "add_key": 248, "request_key": 249, "keyctl": 250,
                            "perf_event_open": 298, "bpf": 321, "userfaultfd": 323, "io_uring_setup": 425}),
    "aarch64": (0xC00000B7, {"socket": 198, "truncate": 45, "add_key": 217, "request_key": 218, "keyctl": 219,
                             "perf_event_open": 241, "bpf": 280, "userfaultfd": 282, "io_uring_setup": 425}),
}  # fmt: skip
"""Machine → its audit number and its numbers of the system calls that a confined program has no business with."""
INTERNET_FAMILIES = (2, 10, 16)
"""AF_INET, AF_INET6, and AF_NETLINK, which name resolution asks for addresses. Not AF_UNIX: a container daemon's
socket is a way out that Landlock does not close."""

libc = ctypes.CDLL(None, use_errno=True)


def main(arguments: list[str]) -> int:
    plan = json.loads(arguments[0])
    signals = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    _checked(libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
    _checked(libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0))
    if os.getppid() != plan["parent"]:
        return NOT_CONFINED  # the harness died before we could ask to be told
    _go_first()
    before = _threads_running()
    child = os.fork()
    if child == 0:
        _become(plan, arguments[1:], signals)
    ended: int | None = None
    stopped: int | None = None
    while ended is None and stopped is None:
        told = signal.sigtimedwait(signals, LOOK_SECONDS)
        ended = _reap(child)
        if told is not None and told.si_signo != signal.SIGCHLD:
            stopped = 128 + told.si_signo
        elif ended is None and _threads_running() - before > plan["processes"]:
            count = len(descendants(os.getpid(), ended=True))
            if count > plan["processes"]:
                stopped = TOO_MANY
                sys.stderr.write(f"sandbox: {count} processes at once, {plan['processes']} are allowed; all killed\n")
    deadline = time.monotonic() + GUARD_SECONDS
    if ended is None:
        # Landlock's guard sweeps up and ends; bubblewrap ends and takes its process namespace with it.
        _send(child, signal.SIGTERM if "landlock" in plan else signal.SIGKILL)
        while ended is None and time.monotonic() < deadline:
            signal.sigtimedwait({signal.SIGCHLD}, LOOK_SECONDS)
            ended = _reap(child)
    _kill_all(child)
    return stopped if stopped is not None else ended or 0


def _become(plan: Plan, command: list[str], signals: set[signal.Signals]) -> None:
    """Turn the forked child into the program, confined; never returns."""
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
        _checked(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
        _limit(plan)
        if "landlock" in plan:
            _go_first()
            _drop_capabilities()
            _checked(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
            confine_files(**plan["landlock"])
            if plan["landlock"]["abi"] >= 6:
                _guard(signals)
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
            filter_system_calls(plan["landlock"]["network"], plan["landlock"]["abi"])
        os.execvp(command[0], command)
    except FileNotFoundError:
        sys.stderr.write(f"sandbox: no program '{command[0]}' in here\n")
        os._exit(127)
    except PermissionError as error:
        sys.stderr.write(f"sandbox: cannot run '{command[0]}': {error.strerror}\n")
        os._exit(126)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"sandbox: cannot confine the program: {error}\n")
        os._exit(NOT_CONFINED)


def _guard(signals: set[signal.Signals]) -> None:
    """Fork once more: the child returns, in a Landlock domain below ours; this process stays to sweep ours.

    Signals do not leave a domain, so `kill(-1)` reaches what the program left behind and nothing else, all at once,
    however fast it forks. The program, a domain below, cannot signal us.
    """
    launcher = os.getppid()
    try:
        os.kill(launcher, 0)
        raise OSError(errno.EPERM, "the kernel does not keep signals inside")
    except PermissionError:
        pass  # as it must be: we are inside, the launcher is not
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    _checked(libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0))
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
        _checked(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
        _restrict(_ruleset(6, 0), [])
        return
    status: int | None = None
    while status is None:
        told = signal.sigwaitinfo(signals)
        status = _reap(child) if told.si_signo == signal.SIGCHLD else 128 + told.si_signo
    try:
        os.kill(-1, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass  # nobody left
    os._exit(status)


def _go_first() -> None:
    """Be scheduled before a thousand processes of a fork bomb, where the user may ask for that; children are not."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    except PermissionError:
        pass  # RLIMIT_NPROC, which binds everybody but root, is enough then


def _limit(plan: Plan) -> None:
    for name, value in plan["limits"].items():
        which = getattr(resource, name)
        hard = resource.getrlimit(which)[1]
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (bound, bound))
    if os.getuid() != 0:
        # The kernel counts all of the user's threads, ours and others'; root it does not count at all, so `main` does.
        hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
        bound = _threads_of(os.getuid()) + plan["processes"]
        bound = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
        resource.setrlimit(resource.RLIMIT_NPROC, (bound, bound))


def _drop_capabilities() -> None:
    for capability in range(64):
        if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            break  # past the last one, or not ours to drop: then there are none to gain either
    header = struct.pack("=Ii", 0x20080522, 0)
    libc.capset(ctypes.c_char_p(header), ctypes.c_char_p(bytes(24)))


def abi() -> int:
    """The kernel's Landlock version; 0 when it has none."""
    found = libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    return max(0, int(found))


def confine_files(abi: int, readable: list[str], writable: list[str], devices: list[str], network: bool) -> None:
    """Forbid this process all files but these, for ever. Raises OSError."""
    handled = ALL_RIGHTS.get(abi, ALL_RIGHTS_NOW)
    _restrict(
        _ruleset(abi, handled),
        [(path, READING & handled) for path in readable]
        + [(path, handled & ~(MAKE_CHAR | MAKE_BLOCK | IOCTL_DEV)) for path in writable]
        + [(path, (READ_FILE | WRITE_FILE | TRUNCATE) & handled) for path in devices],
    )


def _ruleset(abi: int, handled: int) -> int:
    attributes = struct.pack("=QQQ", handled, 0, SCOPE_ABSTRACT_SOCKETS | SCOPE_SIGNALS)
    size = 8 if abi < 4 else 16 if abi < 6 else 24
    return _checked(libc.syscall(CREATE_RULESET, ctypes.c_char_p(attributes), ctypes.c_size_t(size), 0))


def _restrict(ruleset: int, rules: list[tuple[str, int]]) -> None:
    for path, rights in rules:
        _allow(ruleset, path, rights)
    _checked(libc.syscall(RESTRICT_SELF, ruleset, 0))
    os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # not on this machine, so there is nothing to allow
    try:
        if not os.path.isdir(path):
            rights &= FILE_RIGHTS
        rule = struct.pack("=Qi", rights, descriptor)
        _checked(libc.syscall(ADD_RULE, ruleset, 1, ctypes.c_char_p(rule), 0))
    finally:
        os.close(descriptor)


def filter_system_calls(network: bool, abi: int) -> None:
    """Forbid sockets (all, or all but the internet's) and what would get round Landlock. Raises OSError."""
    machine, numbers = SYSTEM_CALLS[os.uname().machine]
    denied = 0x00050000 | errno.EACCES
    forbidden = [number for name, number in numbers.items() if name != "socket" and (name != "truncate" or abi < 3)]
    program = [
        (0x20, 0, 0, 4),  # load the architecture
        (0x15, 1, 0, machine),
        (0x06, 0, 0, 0x80000000),  # another one's numbers mean other calls: kill
        (0x20, 0, 0, 0),  # load the system call's number
    ]
    if machine == 0xC000003E:
        program += [(0x35, 0, 1, 0x40000000), (0x06, 0, 0, 0x00050000 | errno.ENOSYS)]  # the x32 twins
    for number in forbidden:
        program += [(0x15, 0, 1, number), (0x06, 0, 0, denied)]
    families = INTERNET_FAMILIES if network else ()
    program += [(0x15, 0, 2 + 2 * len(families), numbers["socket"]), (0x20, 0, 0, 16)]
    for family in families:
        program += [(0x15, 0, 1, family), (0x06, 0, 0, 0x7FFF0000)]
    program += [(0x06, 0, 0, denied), (0x06, 0, 0, 0x7FFF0000)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in program))
    whole = struct.pack("@HP", len(program), ctypes.addressof(code))
    _checked(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.c_char_p(whole), 0, 0))


def descendants(ancestor: int, ended: bool = False) -> list[int]:
    """Process ids of all that `ancestor` started, directly or not; with `ended` also those that run no more."""
    children: dict[int, list[int]] = {}
    over: set[int] = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(name))
            if fields[0] == b"Z" or int(fields[6]) & PF_EXITING:
                over.add(int(name))
    found, ahead = [], [ancestor]
    while ahead:
        below = children.get(ahead.pop(), [])
        found += below
        ahead += below
    return found if ended else [process for process in found if process not in over]


def _kill_all(child: int) -> None:
    """Kill every descendant; stopped first, so that what forks as fast as it can cannot outrun us."""
    stopped: set[int] = set()
    deadline = time.monotonic() + LONGEST_KILL_SECONDS
    while _any_child() and time.monotonic() < deadline:
        running = descendants(os.getpid())
        new = set(running) - stopped
        for process in new:
            _send(process, signal.SIGSTOP)
        stopped |= new
        if not new:
            for process in running:
                _send(process, signal.SIGKILL)
        _reap(child)
        if not running:
            return


def _any_child() -> bool:
    """Whether anything is left: what loses its parent becomes ours."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _send(process: int, number: signal.Signals) -> None:
    try:
        os.kill(process, number)
    except (ProcessLookupError, PermissionError):
        pass


def _reap(child: int) -> int | None:
    """Collect what has ended; the child's exit code if it is among them."""
    code = None
    for _ in range(AT_A_TIME):
        try:
            process, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break
        if process == 0:
            break
        if process == child:
            exit_code = os.waitstatus_to_exitcode(status)
            code = exit_code if exit_code >= 0 else 128 - exit_code
    return code


def _threads_running() -> int:
    """Of the whole machine: one cheap look that tells when a closer one is worth it."""
    with open("/proc/loadavg", "rb") as file:
        return int(file.read().split()[3].split(b"/")[1])


def _threads_of(user: int) -> int:
    count = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if os.stat(f"/proc/{name}").st_uid == user:
                    count += len(os.listdir(f"/proc/{name}/task"))
            except OSError:
                continue
    return count


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
