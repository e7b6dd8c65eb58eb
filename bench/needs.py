"""What a run needs besides Python: a C compiler, nginx, and the small programs of src/, built when they change."""

import os
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILD = HERE / ".build"
PROGRAMS = ("mock", "load", "relay")
FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra")
# Package managers put nginx where the PATH of a plain user does not look.
SYSTEM_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/opt/homebrew/bin")

MISSING = """make bench needs {what}. To install what it needs:
  Debian, Ubuntu:  apt-get install nginx-light gcc libc6-dev
  macOS:           brew install nginx && xcode-select --install
make bench には {what_ja} が必要です。インストール方法:
  Debian, Ubuntu:  apt-get install nginx-light gcc libc6-dev
  macOS:           brew install nginx && xcode-select --install"""


class Missing(Exception):
    """Something that must be installed first; the text says how."""


def built(name: str) -> Path:
    """Where a program of src/ is built; the name is one that stands out in a list of processes."""
    return BUILD / f"bench-{name}"


def find(*names: str) -> str | None:
    """The path of the first of these programs that is there."""
    places = os.pathsep.join((os.environ.get("PATH", os.defpath), *SYSTEM_FOLDERS))
    return next((path for name in names if name and (path := shutil.which(name, path=places))), None)


def tools() -> tuple[str, str]:
    """The C compiler and nginx; raises Missing and names what is not there."""
    compiler = find(os.environ.get("CC", ""), "cc", "gcc", "clang")
    nginx = find(os.environ.get("NGINX", ""), "nginx")
    if compiler and nginx:
        return compiler, nginx
    names = (("a C compiler", "C コンパイラ", compiler), ("nginx", "nginx", nginx))
    lacking = [(en, ja) for en, ja, path in names if not path]
    raise Missing(
        MISSING.format(what=" and ".join(en for en, _ in lacking), what_ja=" と ".join(ja for _, ja in lacking))
    )


def build(compiler: str) -> None:
    """Compile what is older than its source; raises Missing with what the compiler said when it cannot."""
    BUILD.mkdir(exist_ok=True)
    headers = max(header.stat().st_mtime for header in (HERE / "src").glob("*.h"))
    for name in PROGRAMS:
        source, output = HERE / "src" / f"{name}.c", built(name)
        if output.exists() and output.stat().st_mtime > max(headers, source.stat().st_mtime):
            continue
        argv = [compiler, *FLAGS, "-o", str(output), str(source)]
        done = subprocess.run(argv, check=False, capture_output=True, text=True)
        if done.returncode:
            what = f"a C compiler with its system headers ({compiler} could not build {source.name})"
            what_ja = f"システムヘッダーを備えた C コンパイラ ({compiler} で {source.name} をビルドできません)"
            raise Missing(f"{done.stderr}\n{MISSING.format(what=what, what_ja=what_ja)}")
