"""What services are built from: packages, edits of files, sandboxed processes, addresses, ports."""
