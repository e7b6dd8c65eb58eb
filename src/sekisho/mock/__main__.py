"""`python -m sekisho.mock --port P`: the command without the rest of the house, so it starts in no time."""

from __future__ import annotations

import argparse
import sys

from sekisho.mock.server import DEFAULT_PORT, PortUnavailable, greeting, run


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 after a signal, 2 for wrong usage or a port that is taken."""
    parser = argparse.ArgumentParser(prog="python -m sekisho.mock", description="The mock provider.")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="0 takes a free one (default: %(default)s)")
    parser.add_argument("--delay-ms", type=int, default=0, help="before each answer, in milliseconds")
    parser.add_argument("--chunk-ms", type=int, default=0, help="between two chunks of a stream, in milliseconds")
    options = parser.parse_args(arguments)
    try:
        run(options.port, options.delay_ms, options.chunk_ms, lambda url: print(greeting(url), flush=True))
    except PortUnavailable as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
