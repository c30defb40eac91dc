"""MySQL and MariaDB."""

from circuit_harness.services.mysql.declared import MySQL
from circuit_harness.services.mysql.running import RunningMySQL

__all__ = ["MySQL", "RunningMySQL"]
