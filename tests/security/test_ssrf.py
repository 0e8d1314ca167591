"""Addresses of games that would have the agent open what only this machine or its network can reach."""

from __future__ import annotations

import asyncio
from typing import Final

from broker.contract import subjects
from tests.security.attacks import Act, Table, as_test
from tests.security.system import System, code_of

ATTACKS: Final[Table[System]] = Table()
_CODES: Final = ("url_refused", "invalid_url", "invalid_params")

REFUSED: Final[dict[str, tuple[str, ...]]] = {
    "loopback": (
        "http://127.0.0.1/",
        "http://127.0.0.1:8222/varz",
        "http://127.9.9.9/",
        "http://localhost/",
        "http://LOCALHOST./",
        "http://sub.localhost/",
        "http://[::1]/",
        "http://[0:0:0:0:0:0:0:1]/",
        "http://0.0.0.0/",
        "http://0/",
        "http://[::]/",
    ),
    "loopback in other notations": (
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.1/",
        "http://017700000001/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://127.0.1/",
        "http://127.0.0.1./",
        "http://0x7f.0x0.0x0.0x1/",
        "http://\uff11\uff12\uff17.0.0.1/",
        "http://127\u30020\u30020\u30021/",
        "http://\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3/",
        "http://%31%32%37.0.0.1/",
        "http://127.0.0.1%00.example.com/",
    ),
    "IPv4 in IPv6": (
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://[::127.0.0.1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[64:ff9b::10.0.0.1]/",
        "http://[64:ff9b:1::7f00:1]/",
        "http://[2002:7f00:1::]/",
        "http://[2002:a00:1::1]/",
        "http://[2001:0:7f00:1::]/",
    ),
    "metadata of clouds": (
        "http://169.254.169.254/latest/meta-data/",
        "http://[fd00:ec2::254]/latest/",
        "http://169.254.170.2/v2/credentials",
        "http://100.100.100.200/latest/meta-data/",
        "http://168.63.129.16/machine",
        "http://192.0.0.192/latest/",
        "http://2852039166/",
        "http://0xa9fea9fe/",
        "http://169.254.43518/",
    ),
    "private and special networks": (
        "http://10.0.0.1/",
        "http://172.16.0.1/",
        "http://172.31.255.255/",
        "http://192.168.1.1/",
        "http://100.64.0.1/",
        "http://192.0.2.1/",
        "http://198.18.0.1/",
        "http://198.51.100.1/",
        "http://203.0.113.1/",
        "http://192.88.99.1/",
        "http://240.0.0.1/",
        "http://255.255.255.255/",
        "http://224.0.0.1/",
        "http://[fc00::1]/",
        "http://[fd12::1]/",
        "http://[fe80::1]/",
        "http://[fec0::1]/",
        "http://[ff02::1]/",
        "http://[2001:db8::1]/",
        "http://[3fff::1]/",
        "http://[100::1]/",
        "http://[5f00::1]/",
        "http://[fe80::1%25eth0]/",
    ),
    "other schemes": (
        "file:///etc/passwd",
        "ftp://example.com/",
        "gopher://127.0.0.1:4222/_PING",
        "javascript:alert(1)",
        "data:text/html,x",
        "about:blank",
        "chrome://version",
        "view-source:http://example.com/",
        "blob:http://example.com/x",
        "ws://127.0.0.1/",
        "nats://127.0.0.1:4222",
        "//127.0.0.1/",
        "http:127.0.0.1/",
        "http:/127.0.0.1/",
        "https:///127.0.0.1/",
    ),
    "addresses that two parsers read differently": (
        "http://example.com@127.0.0.1/",
        "http://127.0.0.1@example.com/",
        "http://example.com\\@127.0.0.1/",
        "http://127.0.0.1\\.example.com/",
        "http://127.0.0.1\t/",
        "http://exa\nmple.com/",
        "http://127.0.0.1 .example.com/",
        "http://[::1]example.com/",
        "http://[::1/",
        "http://example.com:0/",
        "http://example.com:99999/",
        "http://example.com:80:80/",
        "http://exa_mple..com/",
        "http://" + "a" * 3000 + ".com/",
        "http:///etc/passwd",
        "http://user:password@example.com/",
    ),
}


def _refused(urls: tuple[str, ...]) -> Act:
    async def act(system: System) -> None:
        async def one(url: str) -> str | None:
            async with system.visitor(system.ann()) as visitor:
                answer = await visitor.rpc("submitTest", {"gameUrl": url})
            fine = answer.status_code == 400 and code_of(answer) in _CODES
            if not fine and answer.status_code == 503:
                fine = True  # a name that could not be judged
            return None if fine else f"{url}: {answer.status_code} {answer.text[:100]}"

        async with system.streams() as streams:
            before = (await streams.state("JOBS")).last_seq
            wrong = [each for each in await asyncio.gather(*map(one, urls)) if each is not None]
            assert not wrong, "\n".join(wrong)
            assert (await streams.state("JOBS")).last_seq == before, "nothing was queued"

    return act


for _name, _urls in REFUSED.items():
    ATTACKS.add(f"ssrf: {_name} ({len(_urls)} forms)", "400, and nothing is queued", _refused(_urls))


INSIDE: Final = (
    "http://nats:8222/varz",
    "http://ws_edge:8000/",
    "http://proxy/",
    "http://host.docker.internal/",
    "http://kubernetes.default.svc/",
    "http://metadata.google.internal/",
    "http://localhost.localdomain/",
)
"""Names that mean something in the network of the agents, and nothing to the edge of these tests."""


@ATTACKS.attack("ssrf: names of the installation itself", "refused; or queued for an agent, which judges the address")
async def _(system: System) -> None:
    async with system.visitor(system.ann()) as ann, system.streams() as streams:
        for url in INSIDE:
            answer = await ann.rpc("submitTest", {"gameUrl": url})
            if answer.status_code == 200:
                job = await streams.last_confirmed(subjects.JOBS, subjects.job(answer.json()["testId"]))
                assert job is not None and b"allow" not in bytes(job.data).lower(), "nothing is allowed by the job"
            else:
                assert answer.status_code in (400, 503), answer.text


@ATTACKS.attack("ssrf: 120 names that resolve slowly, then loopback", "refused: what cannot be judged is not played")
async def _(system: System) -> None:
    names = [f"http://{number}.invalid/" for number in range(120)]
    async with system.visitor(system.ann()) as attacker, system.visitor(system.ann()) as ann:
        await asyncio.gather(*(attacker.rpc("submitTest", {"gameUrl": each}) for each in names))
        for url in ("http://localhost:4222/", "http://127.0.0.1:4222/", "http://2130706433/"):
            answer = await ann.rpc("submitTest", {"gameUrl": url})
            assert answer.status_code in (400, 503), answer.text


@ATTACKS.attack("ssrf: submit asks for private addresses by itself", "400: only the installation may allow them")
async def _(system: System) -> None:
    async with system.visitor(system.ann()) as ann:
        for more in ({"allowPrivate": True}, {"allow_private": True}, {"allowHosts": ["localhost"]}):
            answer = await ann.rpc("submitTest", {"gameUrl": "http://127.0.0.1/"} | more)
            assert answer.status_code == 400, answer.text


@ATTACKS.attack("ssrf: what a refusal tells of the network", "no address that the submitter did not name")
async def _(system: System) -> None:
    async with system.visitor(system.ann()) as ann:
        for url in ("http://localhost/", "http://ws_edge:8000/", "http://nats:8222/"):
            answer = await ann.rpc("submitTest", {"gameUrl": url})
            assert "nats://" not in answer.text and str(system.broker.port) not in answer.text


@ATTACKS.attack("ssrf: a game address with a password", "refused, and the password is in no text and no log")
async def _(system: System) -> None:
    async with system.visitor(system.ann()) as ann:
        answer = await ann.rpc("submitTest", {"gameUrl": "http://ann:hunter2secret@example.com/"})
        assert answer.status_code == 400 and "hunter2secret" not in answer.text
    assert "hunter2secret" not in system.log()


@ATTACKS.attack("ssrf: titles, budgets and seeds out of every range", "400, or cut; never 500")
async def _(system: System) -> None:
    async with system.visitor(system.ann()) as ann:
        for more in (
            b'"budgetSeconds":-1',
            b'"budgetSeconds":1e300',
            b'"budgetSeconds":1e999',
            b'"budgetSeconds":NaN',
            b'"budgetSeconds":true',
            b'"budgetSeconds":"60"',
            b'"seed":%d' % 2**200,
            b'"seed":-%d' % 2**70,
            b'"seed":1.5',
            b'"title":["x"]',
            b'"title":7',
            b'"title":"\\ud800"',
            b'"title":"' + b"t" * 20_000 + b'"',
        ):
            answer = await ann.rpc("submitTest", content=b'{"gameUrl":"http://127.0.0.1/",' + more + b"}")
            assert answer.status_code in (400, 413), (more, answer.text)


test_attack = as_test(ATTACKS)
