"""The private and the public address of a host, as its cloud's metadata service tells them."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from circuit import Anchor
from deploy.errors import Unfit
from deploy.shell import run_shell

_SERVICE = "http://169.254.169.254/latest"

# A service that wants a token (IMDSv2) gets one asked for; one that knows no tokens is asked without. Both addresses
# are asked for at once. Each answer stands on a line of its own, behind its name.
_ASK = f"""
command -v curl >/dev/null || {{ echo 'there is no curl' >&2; exit 69; }}
ask() {{ curl -sS --connect-timeout 2 --max-time 5 --noproxy '*' "$@"; }}
token=$(ask -f -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' {_SERVICE}/api/token 2>/dev/null) || token=
for name in local-ipv4 public-ipv4; do
    (printf '%s %s\\n' $name "$(ask -f -H "X-aws-ec2-metadata-token: $token" {_SERVICE}/meta-data/$name 2>&1)") &
done
wait
"""


@dataclass(frozen=True)
class Addresses:
    """The IP addresses of one host: ``private`` within the cluster's network, ``public`` from outside it."""

    private: str
    public: str


def find_addresses(host: Anchor) -> Addresses:
    """Ask a host's metadata service for its addresses.

    :raises Unfit: there is no such service, or what it answers is no IP address.
    """
    answers: dict[str, str] = {}
    for line in run_shell(host, _ASK, timeout=20).text.splitlines():
        name, _, answer = line.partition(" ")
        answers.setdefault(name, answer)
    return Addresses(
        private=_checked(host, "local-ipv4", answers.get("local-ipv4", "")),
        public=_checked(host, "public-ipv4", answers.get("public-ipv4", "")),
    )


def _checked(host: Anchor, name: str, answer: str) -> str:
    try:
        return str(ipaddress.ip_address(answer))
    except ValueError:
        raise Unfit(
            f"host {host.name}: the metadata service should have told {name}, an IP address, but {_SERVICE}/meta-data/"
            f"{name} gave {answer[:200]!r}"
        ) from None
