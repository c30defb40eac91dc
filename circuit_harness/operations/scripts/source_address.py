"""Print the address that a UDP socket towards another would have; nothing is sent."""

import socket
import sys

info = socket.getaddrinfo(sys.argv[1], 9, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)[0]
with socket.socket(*info[:3]) as prober:
    prober.connect(info[4])
    print(prober.getsockname()[0])
