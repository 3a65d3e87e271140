"""Notifications under fire: receivers that fail, hang and restart, senders killed with kill -9.

    python benchmarks/notifications.py [--quick]

Three senders share a database. A share of all tries ends with the death of the sender between claim and send,
or between send and mark; others are killed at random moments; so are the receivers, an SMTP server and a
webhook receiver, which also fail, hang, and take messages without ever answering. Beside them are a channel
that is dead, one that hangs for ever, and one that is calm; in the first quarter no sender is killed, so that
nothing but these could hold the calm one up. When the fire is over, everything that was posted is counted: at
the receivers, by delivery id.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import random
import socket
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path

import _under_fire
from _shared import Claim, report
from _under_fire import CALM, PACE, Fire, utc_now
from tidegauge.domain.alert import AlertEvent, Severity
from tidegauge.domain.channel import Channel, ChannelKind, DeliveryState, Message, Setting
from tidegauge.domain.identity import new_id
from tidegauge.links.processes import free_port
from tidegauge.services.notifications import Notifications
from tidegauge.storage.database import Database

TESTS = Path(__file__).resolve().parents[1] / "tests"
OWNER = "ward"
SENDERS = 3
PER_KIND = 3
SECONDS_A_MESSAGE = 0.8  # of one channel
WARM_SECONDS = 3.0  # until every process is there
DRAIN_SECONDS = 90.0

_processes = multiprocessing.get_context("forkserver")


@dataclass
class Crew:
    """The processes of one role, begun anew as often as they die."""

    begin: Callable[[int], BaseProcess]
    members: list[BaseProcess] = field(default_factory=list)
    begun: int = 0
    killed: int = 0  # by us; the others kill themselves

    def mend(self, size: int) -> None:
        self.members = [member for member in self.members if member.is_alive()]
        while len(self.members) < size:
            self.begun += 1
            self.members.append(self.begin(self.begun))

    def kill(self, rng: random.Random) -> None:
        living = [member for member in self.members if member.is_alive()]
        if living:
            victim = rng.choice(living)
            victim.kill()
            victim.join()
            self.killed += victim.exitcode == -9

    def end(self) -> None:
        for member in self.members:
            member.kill()
            member.join()


@dataclass(frozen=True)
class Outcome:
    """What one fire came to."""

    posted: dict[str, list[str]]  # names of messages by channel
    mails: list[str]
    webhooks: list[str]
    calm: list[str]
    kills: Counter[str]
    restarts: int
    interrupted: dict[str, int]  # tries of each mail that a death ended, by delivery id
    sent: dict[str, float]  # when each message was posted
    kills_from: float
    unsent: int
    dropped: int
    failing: set[str]
    drained: float


def burn(url: str, seconds: float, seed: int) -> Outcome:
    """Post and send for so long under fire, then let everything arrive."""
    first = _processes.Process(target=_under_fire.utc_now)
    first.start()  # the server of forks loads everything before its first child begins
    first.join()
    with tempfile.TemporaryDirectory() as name, _deaf() as deaf_port:
        now = time.time()
        fire = Fire(url, Path(name), now + WARM_SECONDS + seconds / 4, now + WARM_SECONDS + seconds)
        ports = {role: free_port() for role in ("mail", "webhook", CALM, "dead")}
        database = Database(url)
        database.migrate()
        channels = _channels(database, {**ports, "deaf": deaf_port})
        crews = {
            "mail": Crew(_starter(_under_fire.run_mail, fire, ports["mail"])),
            "webhook": Crew(_starter(_under_fire.run_webhooks, fire, ports["webhook"], "webhooks")),
            CALM: Crew(_starter(_under_fire.run_webhooks, fire, ports[CALM], CALM)),
            "senders": Crew(_starter(_under_fire.run_sender, fire)),
        }
        try:
            posted, sent = _burn(database, crews, channels, fire, random.Random(seed))
            over = time.monotonic()
            left = _drain(database, crews, channels)
            return Outcome(
                posted,
                fire.noted("mails"),
                fire.noted("webhooks"),
                fire.noted(CALM),
                Counter(fire.noted("kills")) + Counter({"at random": crews["senders"].killed}),
                crews["mail"].killed + crews["webhook"].killed,
                _interrupted(database, channels, fire),
                sent,
                fire.kills_from,
                left,
                database.deliveries.count(state=DeliveryState.DROPPED),
                {channel.name for channel in database.channels.where() if channel.failing_since},
                time.monotonic() - over,
            )
        finally:
            for crew in crews.values():
                crew.end()
            database.close()


def _burn(
    database: Database, crews: dict[str, Crew], channels: list[Channel], fire: Fire, rng: random.Random
) -> tuple[dict[str, list[str]], dict[str, float]]:
    posting = Notifications(database, "http://gauge", utc_now)
    posted: dict[str, list[str]] = defaultdict(list)
    sent: dict[str, float] = {}
    began = time.time()
    due = {"post": WARM_SECONDS, "sender": fire.kills_from - began, "mail": 5.0, "webhook": 6.0}
    pauses = {"post": SECONDS_A_MESSAGE, "sender": 2.5, "mail": 7.0, "webhook": 7.0}
    while fire.burns:
        for name, crew in crews.items():
            crew.mend(SENDERS if name == "senders" else 1)
        now = time.time() - began
        for what in [what for what, moment in due.items() if moment <= now]:
            due[what] = now + pauses[what] * rng.uniform(0.7, 1.3)
            if what == "post":
                _post(database, posting, channels, posted, sent)
            else:
                crews["senders" if what == "sender" else what].kill(rng)
        time.sleep(0.02)
    return posted, sent


def _post(
    database: Database,
    posting: Notifications,
    channels: list[Channel],
    posted: dict[str, list[str]],
    sent: dict[str, float],
) -> None:
    """Post one message to every channel."""
    now = utc_now()
    with database.transaction():
        for channel in channels:
            name = f"{channel.name}/{len(posted[channel.name])}"
            event = AlertEvent(new_id(), "a", "m", "r", "low", "accuracy < 0.85", 0.5, now)
            message = Message(
                "fired",
                "low",
                "xray",
                "m",
                Severity.CRITICAL,
                "critical",
                now - timedelta(minutes=5),
                now,
                f"<<{name}>>",
            )
            posting.post(event, message, [channel.name], OWNER, now)
            posted[channel.name].append(name)
            sent[name] = time.time()


def _drain(database: Database, crews: dict[str, Crew], channels: list[Channel]) -> int:
    """Wait until everything has arrived that can; return how much has not."""
    wanted = [channel.id for channel in channels if channel.name not in ("dead", "deaf")]
    unsent = [DeliveryState.WAITING.value, DeliveryState.SENDING.value]
    deadline = time.monotonic() + DRAIN_SECONDS
    while True:
        for name, crew in crews.items():
            crew.mend(SENDERS if name == "senders" else 1)
        left = database.deliveries.count(channel_id=wanted, state=unsent)
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.1)


def _interrupted(database: Database, channels: list[Channel], fire: Fire) -> dict[str, int]:
    """Count the tries that neither failed nor were written down as sent."""
    failures = Counter(fire.noted("failures"))
    mails = [channel.id for channel in channels if channel.kind is ChannelKind.MAIL]
    return {
        delivery.id: delivery.tries - failures[delivery.id] - (delivery.state is DeliveryState.SENT)
        for delivery in database.deliveries.where(channel_id=mails)
    }


def _channels(database: Database, ports: dict[str, int]) -> list[Channel]:
    letters: dict[str, Setting] = {
        "host": "127.0.0.1",
        "port": ports["mail"],
        "security": "none",
        "user": "",
        "from": "gauge@example.org",
        "to": "ward@example.org",
    }
    hook = Channel("", OWNER, "", ChannelKind.WEBHOOK, {}, utc_now(), "key")
    made = [
        replace(hook, name=f"mail-{number}", kind=ChannelKind.MAIL, settings=letters, secret="")
        for number in range(PER_KIND)
    ]
    made += [
        replace(hook, name=name, settings={"url": f"http://127.0.0.1:{ports[role]}"})
        for name, role in [
            *((f"webhook-{number}", "webhook") for number in range(PER_KIND)),
            (CALM, CALM),
            ("dead", "dead"),
            ("deaf", "deaf"),
        ]
    ]
    return [database.channels.add(replace(channel, id=new_id())) for channel in made]


@contextlib.contextmanager
def _deaf() -> Iterator[int]:
    """A port that connections are made to and that never says anything."""
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as listener:
        yield listener.getsockname()[1]


def _starter(run: Callable[..., None], fire: Fire, *arguments: int | str) -> Callable[[int], BaseProcess]:
    def begin(number: int) -> BaseProcess:
        process = _processes.Process(target=run, args=(fire, *arguments, number), daemon=True)
        process.start()
        return process

    return begin


def judge(title: str, found: Outcome, least: int) -> int:
    """Print what a fire came to against what is promised."""
    mails = [line.split() for line in found.mails]
    hooks = [line.split() for line in found.webhooks]
    applied = [line for line in hooks if line[0] == "applied"]
    posted = {
        kind: {name for channel, names in found.posted.items() if channel.startswith(kind) for name in names}
        for kind in ("mail", "webhook", CALM)
    }
    lost_mails = posted["mail"] - {line[1] for line in mails}
    lost_hooks = posted["webhook"] - {line[2] for line in applied}
    twice = len(applied) - len({line[2] for line in applied})
    copies = Counter(line[0].strip("<>").partition("@")[0] for line in mails)
    doubled = sum(copies.values()) - len(copies)
    explained = all(count - 1 <= found.interrupted[id_] for id_, count in copies.items())
    kills = sum(found.kills.values())
    disorder = _disorder(line[1] for line in mails) + _disorder(line[2] for line in applied)
    calm = {line[2]: float(line[3]) for line in map(str.split, found.calm) if line[0] == "applied"}
    waits = [calm[name] - found.sent[name] for name in calm if found.sent[name] < found.kills_from]
    slowest = max(waits, default=float("inf"))
    counts = ", ".join(f"{count} {when}" for when, count in sorted(found.kills.items()))
    return report(
        title,
        [
            Claim("senders killed with kill -9", f"{kills}: {counts}", f">= {least}", kills >= least),
            Claim("receivers killed and begun anew", f"{found.restarts}", "some", found.restarts > 0),
            Claim("mails lost", f"{len(lost_mails)} of {len(posted['mail'])}", "0", not lost_mails),
            Claim(
                "webhooks lost",
                f"{len(lost_hooks)} of {len(posted['webhook'])}",
                "0",
                not lost_hooks and bool(posted["webhook"]),
            ),
            Claim(
                "webhooks applied twice, by delivery id",
                f"{twice} ({len(hooks) - len(applied)} repeats told apart)",
                "0",
                twice == 0,
            ),
            Claim(
                "mails doubled, by Message-ID",
                f"{doubled} after {sum(found.interrupted.values())} tries that a kill interrupted",
                "no mail but those, once each",
                explained,
            ),
            Claim("messages that overtook another of their channel", f"{disorder}", "0", disorder == 0),
            Claim("messages not sent, or given up", f"{found.unsent}, {found.dropped}", "0", _none(found)),
            Claim(
                "calm channel, before the kills: slowest arrival",
                f"{slowest:.2f} s of {len(waits)}",
                f"< {PACE.timeout:.0f} s, a time-out",
                slowest < PACE.timeout and calm.keys() == posted[CALM],
            ),
            Claim(
                "channels that show that they fail",
                ", ".join(sorted(found.failing)),
                "dead, deaf",
                found.failing == {"dead", "deaf"},
            ),
            Claim("all arrived after the fire's end", f"{found.drained:.0f} s", "for information", True),
        ],
    )


def _none(found: Outcome) -> bool:
    return not found.unsent and not found.dropped


def _disorder(names: Iterable[str]) -> int:
    """Count the first arrivals that come after one that was posted later."""
    latest: dict[str, int] = defaultdict(lambda: -1)
    late = 0
    for name in dict.fromkeys(names):
        channel, number = name.split("/")
        late += int(number) < latest[channel]
        latest[channel] = max(latest[channel], int(number))
    return late


@contextlib.contextmanager
def _postgres() -> Iterator[str]:
    sys.path.append(str(TESTS))
    from parts import postgres

    with postgres() as url:
        yield f"{url}/postgres"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="25 seconds of fire, on SQLite only")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    _processes.set_forkserver_preload(["_under_fire"])
    seconds, least = (25.0, 5) if options.quick else (150.0, 40)
    with tempfile.TemporaryDirectory() as folder:
        found = burn(f"sqlite:///{folder}/db.sqlite", seconds, options.seed)
    failed = judge(f"Notifications under fire for {seconds:.0f} s, SQLite", found, least)
    if options.quick:
        return failed
    if not list(Path("/usr/lib/postgresql").glob("*/bin")):
        print("PostgreSQL is absent, so nothing was measured on it (Debian: apt-get install postgresql).")
        return failed
    with _postgres() as url:
        found = burn(url, seconds, options.seed)
    return judge(f"Notifications under fire for {seconds:.0f} s, PostgreSQL", found, least) or failed


if __name__ == "__main__":
    sys.exit(main())
