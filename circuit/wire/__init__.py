"""The protocol without a socket: bytes in, values out, and back. No IO, no thread, no clock."""
