"""The line of relay.c: built here, started before a server, and proved to be as fast and as slow as it is said to be."""
import socket
import subprocess
import threading
import time
from pathlib import Path

from .ground import MIB, Failure


class Line:
    """A line to a port of loopback; `port` is its near end."""

    def __init__(self, ground, port, delay_ms=0, mbit=0):
        program = ground.memory / "relay"
        if not program.exists():
            ground.run("gcc", "-O2", "-o", program, Path(__file__).with_name("relay.c"))
        self.ground = ground
        self.process = ground.start(program, port, delay_ms, mbit, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())

    def end(self):
        self.ground.end(self.process)


def proved(ground, round_trip_ms, mbit):
    """Ends the bench unless the line carries more than is asked of it, and, asked, about as much; returns both rates in
    Mbit/s and the round trip in ms."""
    free, _ = rate(ground, 0, 0, 512 * MIB)
    held, trip = rate(ground, round_trip_ms / 2, mbit, 64 * MIB)
    if free < 1.5 * mbit or held > 1.05 * mbit:
        raise Failure(f"the line carries {free:.0f} Mbit/s at most, and {held:.0f} where it is held to {mbit}")
    return free, held, trip


def rate(ground, delay_ms, mbit, size):
    """Mbit/s of one stream and, in ms, a round trip on an open connection."""
    block = bytes(MIB)
    with socket.create_server(("127.0.0.1", 0)) as server:
        def serve():
            peer, _ = server.accept()
            buffer = bytearray(4 * MIB)
            peer.send(peer.recv(1))
            left = size
            while left > 0:
                left -= peer.recv_into(buffer)
            peer.send(b".")
            peer.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        line = Line(ground, server.getsockname()[1], delay_ms, mbit)
        with socket.create_connection(("127.0.0.1", line.port)) as near:
            near.send(b"?")
            near.recv(1)
            began = time.perf_counter()
            for _ in range(size // len(block)):
                near.sendall(block)
            near.recv(1)
            took = time.perf_counter() - began
        thread.join()
        line.end()
    with socket.create_server(("127.0.0.1", 0)) as server:
        line = Line(ground, server.getsockname()[1], delay_ms, mbit)
        with socket.create_connection(("127.0.0.1", line.port)) as near:
            peer, _ = server.accept()
            trips = []
            for _ in range(3):
                began = time.perf_counter()
                near.send(b"?")
                peer.send(peer.recv(1))
                near.recv(1)
                trips.append(time.perf_counter() - began)
            peer.close()
        line.end()
    trip = min(trips)
    return size * 8 / (took - trip) / 1e6, trip * 1000
