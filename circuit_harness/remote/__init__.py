"""Remote hosts: run commands and start elements, over a circuit or a fake one."""
