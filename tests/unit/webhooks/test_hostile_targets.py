"""No URL and no DNS answer makes PixelFlow connect to an address that is not public."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from ipaddress import ip_address, ip_network

import pytest

from pixelflow.adapters.outbound_http import OutboundHttp, OutboundRule
from pixelflow.adapters.outbound_http.addresses import Address, is_public
from pixelflow.errors import TargetRefusedError, TargetUnreachableError

HOSTILE_URLS = [
    # loopback, in all notations
    "https://127.0.0.1/",
    "https://127.8.9.10:8443/",
    "https://127.1/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.1/",
    "https://0177.0.0.1/",
    "https://0177.0.0.01:8080/",
    "https://017700000001/",
    "https://127.0.0.1.:8443/",
    "https://127.0.0.0x1/",
    "https://[::1]/",
    "https://[0:0:0:0:0:0:0:1]/",
    "https://localhost/",
    "https://LOCALHOST:8443/",
    "https://api.localhost/",
    "https://localhost.localdomain/",
    "https://localhost./",
    # this host
    "https://0.0.0.0/",
    "https://0/",
    "https://0.1.2.3/",
    "https://[::]/",
    # private and shared
    "https://10.0.0.1/",
    "https://172.16.0.1/",
    "https://172.31.255.255/",
    "https://192.168.1.1/",
    "https://100.64.0.1/",
    "https://100.100.100.200/latest/meta-data/",
    "https://198.18.0.1/",
    "https://[fc00::1]/",
    "https://[fd00:ec2::254]/latest/meta-data/",
    "https://[fec0::1]/",
    # link-local: the metadata of clouds
    "https://169.254.169.254/latest/meta-data/",
    "https://2852039166/",
    "https://0xa9fea9fe/",
    "https://169.254.170.2/v2/credentials",
    "https://192.0.0.192/opc/v2/",
    "https://168.63.129.16/machine/",
    "https://[fe80::1]/",
    "https://[fe80::1%25eth0]/",
    # IPv4 within IPv6
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:a9fe:a9fe]/",
    "https://[::ffff:93.184.215.14]/",
    "https://[::127.0.0.1]/",
    "https://[2002:7f00:1::]/",
    "https://[2001:0:7f00:1::]/",
    "https://[64:ff9b::10.0.0.1]/",
    "https://[64:ff9b::a9fe:a9fe]/",
    "https://[64:ff9b:1::1]/",
    # unassigned
    "https://224.0.0.1/",
    "https://255.255.255.255/",
    "https://240.0.0.1/",
    "https://192.0.2.1/",
    "https://[ff02::1]/",
    "https://[2001:db8::1]/",
    # misleading
    "https://client.example@127.0.0.1/",
    "https://user:password@client.example/",
    "https://client.example\\@127.0.0.1/",
    "https://127.0.0.1\\.client.example/",
    "https://client.example%2f@127.0.0.1/",
    "https://127%2e0%2e0%2e1/",
    "https://[::1].client.example/",
    "https://client.example:443:8080/",
    "https://client.example:0/",
    "https://client.example:99999/",
    "https://client.example\t.evil/",
    "https://client.example\r\nHost: inner/",
    "https://client.example /",
    "https://①②⑦.⓪.⓪.①/",
    "https://-client.example/",
    "https://client..example/",
    "https://" + "a." * 127 + "example/",
    "https://client.example/" + "a" * 2048,
    "https:///path",
    "https://",
    # other services and schemes
    "https://client.example:22/",
    "https://client.example:25/",
    "http://client.example/",
    "ftp://client.example/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_FLUSHALL",
    "unix:///var/run/docker.sock",
    "//client.example/",
    "",
]

HOSTILE_ANSWERS = [
    ["127.0.0.1"],
    ["10.1.2.3"],
    ["169.254.169.254"],
    ["100.64.0.1"],
    ["0.0.0.0"],  # noqa: S104
    ["192.168.0.10"],
    ["::1"],
    ["::ffff:10.0.0.1"],
    ["fd12:3456::1"],
    ["fe80::1%eth0"],
    ["2002:a00:1::1"],
    ["64:ff9b::7f00:1"],
    ["93.184.215.14", "127.0.0.1"],
    ["2606:4700:4700::1111", "169.254.169.254"],
    ["93.184.215.14", "::1"],
]


class Names:
    """A resolver with given answers, one after the other."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, name: str) -> Sequence[Address]:
        self.asked.append(name)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [ip_address(address) for address in answer]


async def call(url: str, names: Names, rule: OutboundRule | None = None) -> None:
    http = OutboundHttp(rule or OutboundRule(), resolve=names, tls=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    try:
        await http.request("POST", url, content=b"{}", timeout=60, max_bytes=10)
    finally:
        http.close()


@pytest.mark.parametrize("url", HOSTILE_URLS)
async def test_a_hostile_url_is_refused_before_any_dns_lookup(url: str) -> None:
    names = Names(["93.184.215.14"])
    with pytest.raises(TargetRefusedError):
        await call(url, names)
    assert names.asked == []


@pytest.mark.parametrize("url", [url for url in HOSTILE_URLS if url.startswith("https:")])
async def test_a_hostile_url_is_refused_over_http_too(url: str) -> None:
    with pytest.raises(TargetRefusedError):
        OutboundRule(allow_http=True).check(url.replace("https:", "http:", 1))


def test_a_private_address_is_refused_with_what_is_required() -> None:
    with pytest.raises(TargetRefusedError, match=r"^must have a public address$"):
        OutboundRule().check("https://10.0.0.1/")


@pytest.mark.parametrize("answer", HOSTILE_ANSWERS)
async def test_a_host_with_an_address_that_is_not_public_is_refused(answer: list[str]) -> None:
    with pytest.raises(TargetRefusedError) as refused:
        await call("https://client.example/", Names(answer))
    assert not any(address in str(refused.value) for address in answer), "the error reveals internal addresses"


async def test_dns_rebinding_has_no_effect() -> None:
    """A public address at the check, an internal one at the connection."""
    names = Names(["93.184.215.14"], ["127.0.0.1"])
    rule = OutboundRule()
    rule.check("https://client.example/")
    await names("client.example")
    with pytest.raises(TargetRefusedError):
        await call("https://client.example/", names, rule)
    assert len(names.asked) == 2


async def test_a_host_without_an_address_is_unreachable() -> None:
    with pytest.raises(TargetUnreachableError):
        await call("https://client.example/", Names([]))


@pytest.mark.parametrize(
    "url",
    [
        "https://client.example/hooks?x=1",
        "https://client.example:8443",
        "https://xn--bcher-kva.example/",
        "https://a_b.client.example/",
        "https://93.184.215.14/",
        "https://[2606:4700:4700::1111]:443/",
        "https://[64:ff9b::93.184.215.14]/",
        "https://1e100.example/",
        "https://localhost.client.example/",
    ],
)
def test_a_public_url_is_accepted(url: str) -> None:
    OutboundRule().check(url)


@pytest.mark.parametrize(
    ("network", "url"),
    [
        ("127.0.0.0/8", "https://127.0.0.1:9000/"),
        ("127.0.0.0/8", "https://localhost:9000/"),
        ("10.20.0.0/16", "https://10.20.3.4/"),
        ("fd00::/8", "https://[fd00::7]/"),
    ],
)
def test_an_allowed_network_is_accepted(network: str, url: str) -> None:
    OutboundRule(networks=(ip_network(network),)).check(url)


@pytest.mark.parametrize("url", ["https://10.21.0.1/", "https://[::ffff:10.20.0.1]/", "https://0x0a140001/"])
def test_addresses_outside_an_allowed_network_are_refused(url: str) -> None:
    with pytest.raises(TargetRefusedError):
        OutboundRule(networks=(ip_network("10.20.0.0/16"),)).check(url)


def test_of_a_host_in_an_allowed_network_only_those_addresses_are_used() -> None:
    rule = OutboundRule(networks=(ip_network("10.20.0.0/16"),))
    answer = [ip_address(address) for address in ("169.254.169.254", "10.20.0.1", "93.184.215.14")]
    assert rule.usable(answer) == [ip_address("10.20.0.1")]


@pytest.mark.parametrize("address", ["93.184.215.14", "1.1.1.1", "2606:4700:4700::1111", "2a00:1450:4001::200e"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(ip_address(address))
