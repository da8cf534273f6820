"""Logs for operators: a JSON line each, an event's name and its fields. Values from outside are fields, never text."""

import json
import logging

#: attributes that every record has; what is beyond them came as `extra`
_COMMON = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """A record as a line of JSON: time, level, logger, event, its extra fields, a traceback where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            "event": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _COMMON}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure(level: int = logging.INFO) -> None:
    """Send warnings, and our own events from this level on, to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("isac").setLevel(level)
    # Its warnings say what the raised error says, once for each try.
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
