"""Ask the metadata service: METHOD HEADER PATH; print an answer of status 200."""

import http.client
import sys

method, header, path = sys.argv[1:]
service = http.client.HTTPConnection("169.254.169.254", timeout=1.2)
try:
    service.connect()
except OSError:
    sys.exit(7)
service.sock.settimeout(2.8)
try:
    service.request(method, "/latest/" + path, headers=dict([header.split(": ", 1)]))
    answer = service.getresponse()
    text = answer.read(4096).decode("ascii")
except (OSError, ValueError, http.client.HTTPException):
    sys.exit(22)
if answer.status != 200:
    sys.exit(22)
sys.stdout.write(text)
