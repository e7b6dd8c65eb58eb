"""What is written in one round of the loop: in order, together where it goes to one socket, and none of it lost."""

from __future__ import annotations

import asyncio

from sekisho.gateway.outbox import Outbox


class Socket:
    """Keeps what is written; a closed one refuses, as uvloop's transports do."""

    def __init__(self, written: list[tuple[str, bytes]], name: str, *, closed: bool = False) -> None:
        self._written = written
        self._name = name
        self._closed = closed
        self.write = self._write  # one object, as a connection keeps it

    def _write(self, data: bytes) -> None:
        if self._closed:
            raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")
        self._written.append((self._name, data))


async def test_writes_of_a_round_keep_their_order_and_go_together() -> None:
    written: list[tuple[str, bytes]] = []
    outbox = Outbox(asyncio.get_running_loop())
    one, other = Socket(written, "one"), Socket(written, "other")
    for socket, data in ((one, b"a"), (one, b"b"), (other, b"c"), (one, b"d")):
        outbox.write(socket.write, data)
    assert written == []
    await asyncio.sleep(0)
    assert written == [("one", b"ab"), ("other", b"c"), ("one", b"d")]
    outbox.write(other.write, b"e")
    await asyncio.sleep(0)
    assert written[3:] == [("other", b"e")], "and so in the next round"


async def test_a_connection_that_closed_in_this_round_costs_no_other_its_bytes() -> None:
    written: list[tuple[str, bytes]] = []
    outbox = Outbox(asyncio.get_running_loop())
    outbox.write(Socket(written, "gone", closed=True).write, b"a")
    outbox.write(Socket(written, "other").write, b"b")
    outbox.flush()
    assert written == [("other", b"b")]
