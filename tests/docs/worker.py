"""Executes Python snippets in one process of their own, so that a library is imported once and not for each of them.

Reads JSON objects `{"file", "folder", "environ"}` from stdin, one a line, and answers with `{"output", "error"}`.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import traceback


def execute(file: str, folder: str, environ: dict[str, str]) -> dict[str, str]:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    written = io.StringIO()
    try:
        with open(file, encoding="utf-8") as source, contextlib.redirect_stdout(written):
            exec(compile(source.read(), file, "exec"), {"__name__": "__main__", "__file__": file})
    except BaseException:
        return {"output": written.getvalue(), "error": traceback.format_exc()}
    return {"output": written.getvalue(), "error": ""}


for line in sys.stdin:
    print(json.dumps(execute(**json.loads(line))), flush=True)
