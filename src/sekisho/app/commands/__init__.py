"""One file a command, each with `register(app)`, so that starting one command imports no other.

In: typer's parsed options, and settings.
Out: text on the terminal, and one of the exit codes below.
May import: every room, the heavy ones inside functions: `sekisho serve` has to answer within a second.
Tests: tests/unit/app/commands.
"""

#: exit codes: done; the answer is no; wrong usage or configuration; the gateway could not be reached
DONE, NO, WRONG_USAGE, UNREACHABLE = 0, 1, 2, 3
