"""Our logs: one line of JSON each, with a request id where there is one. Must never hold a prompt or a secret."""

from __future__ import annotations

import logging
import time

import msgspec

from sekisho.tables.standard_error import StandardError, standard_error

_LEVELS = {"warning": logging.WARNING, "info": logging.INFO, "debug": logging.DEBUG}
#: what a record may say beside its message; anything else attached to it is left out
_EXTRA = (
    "request_id", "code", "status", "provider", "model", "path", "spool", "reason", "key_id", "attempts", "line",
    "error", "pid", "exit_status", "age_s", "bytes", "quota_bytes", "rows", "most",
)  # fmt: skip


class JsonLines(logging.Formatter):
    """`{"time", "level", "logger", "message", …}`; a traceback stands in `error`, its lines joined by escapes."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name in _EXTRA:
            value = getattr(record, name, None)
            if value is not None:
                line[name] = value if isinstance(value, str | int | float) else str(value)
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


class Lines(logging.Handler):
    """Writes records to stderr, and says how many were lost where it could not."""

    def __init__(self, to: StandardError) -> None:
        super().__init__()
        self._to = to

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if (lost := self._to.lost) and not self._to.line(self.format(_lost(record.name, lost))):
                return
            self._to.line(self.format(record))
        except Exception:
            self.handleError(record)


def _lost(logger: str, lines: int) -> logging.LogRecord:
    said = "%d lines of this log are lost: nobody read them in time, or the disk was full"
    return logging.LogRecord(logger, logging.WARNING, "", 0, said, (lines,), None)


def set_up(level: str) -> None:
    """Everything this process logs goes to stderr as JSON lines."""
    handler = Lines(standard_error())
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("sekisho").setLevel(_LEVELS[level])
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
