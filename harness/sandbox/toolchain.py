"""Which programs a confined program finds: PATH, the folders behind it, and the git folder of its worktree."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

SYSTEM = tuple(map(Path, ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/nix/store")))
"""Software for everybody on the machine, without anybody's data."""

ETC = tuple(
    Path("/etc") / name
    for name in (
        "alternatives", "bash.bashrc", "ca-certificates", "ca-certificates.conf", "crypto-policies", "debian_version",
        "group", "host.conf", "hosts", "inputrc", "java", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime",
        "locale.alias", "locale.conf", "magic", "mime.types", "nsswitch.conf", "os-release", "passwd", "perl",
        "pki/tls", "pki/ca-trust", "profile", "protocols", "python3", "resolv.conf", "services", "shells", "ssl/certs",
        "ssl/openssl.cnf", "terminfo", "timezone",
    )
)  # fmt: skip
"""Of `/etc` only what programs need to start; never `shadow`, `ssl/private` or a daemon's settings."""

BESIDE_BIN = ("lib", "lib64", "libexec", "include", "pyvenv.cfg")
HOMES_OF_TOOLS = {".pyenv": "PYENV_ROOT", ".rbenv": "RBENV_ROOT", ".asdf": "ASDF_DATA_DIR", ".rustup": "RUSTUP_HOME"}
"""Tool folders that programs look for under HOME, and the variable that tells them where they are instead."""

_CREDENTIAL = re.compile(r"://[^/\s]*:[^/\s]*@|://[^/\s]{16,}@|extraheader|token|password|passwd|secret", re.IGNORECASE)


@dataclass(frozen=True)
class Toolchain:
    """PATH as a confined program sees it, the folders it must read for that, and variables that go with them."""

    path: tuple[str, ...]
    readable: tuple[Path, ...]
    environment: Mapping[str, str]
    dependencies: tuple[Path, ...] = ()
    """Folders of the repository that git ignores and programs look for beside the code."""


def toolchain(variables: Mapping[str, str], root: Path | None = None) -> Toolchain:
    """The caller's tools: every absolute folder of PATH that is no home, the repository's `.venv` and `node_modules`,
    and our own Python.

    A folder under the home is exposed with its `lib` and `include` and nothing else beside it.
    """
    home = Path(variables.get("HOME", "/nonexistent")).resolve()
    venvs = [root / name / "bin" for name in (".venv", "venv") if root and (root / name / "pyvenv.cfg").is_file()]
    ours = [Path(sys.prefix) / "bin", Path(sys.base_prefix) / "bin"]
    packages = root / "node_modules" if root and (root / "node_modules").is_dir() else None
    if packages:
        venvs.append(packages / ".bin")
    listed = [Path(entry) for entry in variables.get("PATH", "/usr/local/bin:/usr/bin:/bin").split(":") if entry]
    path: dict[str, None] = {}
    readable: dict[Path, None] = {}
    environment: dict[str, str] = {}
    for folder in (*venvs, *listed, *ours):
        real = folder.resolve()
        if not folder.is_absolute() or not real.is_dir() or home.is_relative_to(real):
            continue
        path[str(folder)] = None
        if not _within(real, SYSTEM):
            readable |= dict.fromkeys(_behind(folder))
            environment |= _homes(folder)
    if ".cargo/bin" in "".join(path) and (home / ".rustup").is_dir():
        readable[home / ".rustup"] = None
        environment["RUSTUP_HOME"] = str(home / ".rustup")
    if packages:
        readable[packages] = None
        environment["NODE_PATH"] = str(packages)
    venv = next((entry for entry in path if (Path(entry).parent / "pyvenv.cfg").is_file()), None)
    if venv:
        environment["VIRTUAL_ENV"] = str(Path(venv).parent)
    return Toolchain(tuple(path), tuple(readable), environment, (packages,) if packages else ())


def program_folders(program: Path) -> tuple[Path, ...]:
    """What a program installed outside the system's folders needs to start: its package, or its folder."""
    real = program.resolve()
    found = [program.parent, real.parent]
    modules = [folder for folder in real.parents if folder.name == "node_modules"]
    found += modules[-1:]
    return tuple(folder for folder in found if not _within(folder.resolve(), SYSTEM))


def _behind(folder: Path) -> Iterable[Path]:
    prefix = folder.parent
    if folder.name == "shims":
        yield from (tool for tool in folder.parents if tool.name in HOMES_OF_TOOLS)  # they call into the whole of it
    yield folder
    yield from (prefix / name for name in BESIDE_BIN if (prefix / name).exists())
    settings = prefix / "pyvenv.cfg"
    if settings.is_file():
        base = re.search(r"^home\s*=\s*(.+)$", settings.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
        if base and Path(base[1].strip()).resolve() != folder.resolve():
            yield from _behind(Path(base[1].strip()))


def _homes(folder: Path) -> dict[str, str]:
    return {HOMES_OF_TOOLS[tool.name]: str(tool) for tool in folder.parents if tool.name in HOMES_OF_TOOLS}


def _within(path: Path, folders: Iterable[Path]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


@dataclass(frozen=True)
class GitFolder:
    """The git side of a worktree: what must not be written, what may be read, what must not be."""

    marker: Path | None = None
    """`.git` in the worktree; a file in a worktree made by `git worktree`, a folder in a plain clone."""
    readable: tuple[Path, ...] = ()
    hidden: tuple[Path, ...] = ()
    """Files in there that hold, or may hold, credentials."""


def git_folder(worktree: Path) -> GitFolder:
    """How git sees the folder. A `.git` file that points anywhere but to the worktree's entry in a real repository,
    as a confined program might have written it, opens nothing."""
    marker = worktree / ".git"
    if marker.is_dir() and not marker.is_symlink():
        return GitFolder(marker)
    if not marker.is_file() or marker.is_symlink():
        return GitFolder()
    entry = Path(marker.read_text(encoding="utf-8", errors="replace").removeprefix("gitdir:").strip())
    common = entry.parent.parent
    known = entry.is_absolute() and entry.parent.name == "worktrees" and (common / "objects").is_dir()
    if not known or not _points_back(entry, marker):
        return GitFolder(marker)
    configs = (common / "config", common / "config.worktree", entry / "config.worktree")
    hidden = tuple(path for path in configs if path.is_file() and _holds_credentials(path))
    return GitFolder(marker, (common, *_elsewhere(common)), hidden)


def _elsewhere(common: Path) -> Iterable[Path]:
    """What a git folder borrows from others: linked parts, and object stores named as alternates."""
    for name in ("objects", "refs", "packed-refs", "shallow"):
        if (common / name).is_symlink() and (common / name).exists():
            yield (common / name).resolve()
    alternates = common / "objects" / "info" / "alternates"
    if alternates.is_file():
        for line in alternates.read_text(encoding="utf-8", errors="replace").splitlines():
            path = (common / "objects").resolve() / line.strip()
            if line.strip() and path.is_dir():
                yield path.resolve()


def _points_back(entry: Path, marker: Path) -> bool:
    try:
        return Path((entry / "gitdir").read_text(encoding="utf-8").strip()).resolve() == marker.resolve()
    except OSError:
        return False


def _holds_credentials(path: Path) -> bool:
    return bool(_CREDENTIAL.search(path.read_text(encoding="utf-8", errors="replace")))
