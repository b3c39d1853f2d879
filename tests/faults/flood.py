"""Handshakes as fast as they go: python -m tests.faults.flood HOST PORT SECONDS [plain]

Each is a whole one, TLS (unless plain) and relay, and is closed at once. Prints `flooding`, and at the end
JSON.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import threading
import time

from lib import wire_relay

THREADS = 8


def main(host: str, port: int, seconds: float, plain: bool) -> None:
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    request = wire_relay.encode_request(wire_relay.Request("flood", "10.9.9.9", login=("user", "secret")))
    counts = [0] * THREADS
    print("flooding", flush=True)
    until = began = time.monotonic()
    until += seconds

    def flood(number: int) -> None:
        while time.monotonic() < until:
            try:
                with socket.create_connection((host, port), timeout=5) as sock:
                    stream = sock if plain else trust.wrap_socket(sock)
                    stream.sendall(request)
                    if stream.recv(100)[:1] == b"\1":
                        counts[number] += 1
                    stream.close()
            except OSError:
                pass

    threads = [threading.Thread(target=flood, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps({"handshakes": sum(counts), "seconds": round(time.monotonic() - began, 2)}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), "plain" in sys.argv[4:])
