"""Who fails too often waits, nobody is kept out for good, and processes agree."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from tidegauge.errors import TooManyError
from tidegauge.services.lockout import FREE_ADDRESS, FREE_NAME, FREE_PAIR, FREE_TOKENS, Lockout
from tidegauge.storage.database import Database
from tidegauge.storage.tables import attempts


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lockout(database: Database, clock: Clock) -> Lockout:
    return Lockout(database, clock)


def wait_of(lockout: Lockout, name: str, address: str) -> float:
    with pytest.raises(TooManyError) as caught:
        lockout.begin_sign_in(name, address)
    return caught.value.retry_after


def test_waits_grow_up_to_a_quarter_of_an_hour_and_refusals_do_not_prolong_them(
    lockout: Lockout, clock: Clock
) -> None:
    for _ in range(FREE_PAIR):
        lockout.begin_sign_in("ada", "10.0.0.1")
    assert wait_of(lockout, "ada", "10.0.0.1") == 30
    clock.wait(20)
    assert wait_of(lockout, "ada", "10.0.0.1") == 10
    clock.wait(10)
    waits = []
    for _ in range(7):
        lockout.begin_sign_in("ada", "10.0.0.1")
        waits.append(wait_of(lockout, "ada", "10.0.0.1"))
        clock.wait(waits[-1])
    assert waits == [60, 120, 240, 480, 900, 900, 900]
    clock.wait(3601)
    for _ in range(FREE_PAIR):
        lockout.begin_sign_in("ada", "10.0.0.1")


def test_others_and_other_addresses_are_not_kept_waiting(lockout: Lockout) -> None:
    for _ in range(FREE_PAIR):
        lockout.begin_sign_in("ada", "10.0.0.1")
    lockout.begin_sign_in("ada", "10.0.0.2")
    lockout.begin_sign_in("bob", "10.0.0.1")


def test_an_address_that_tries_many_names_waits(lockout: Lockout) -> None:
    for number in range(FREE_ADDRESS):
        lockout.begin_sign_in(f"user-{number}", "10.0.0.1")
    assert wait_of(lockout, "another", "10.0.0.1") == 30
    lockout.begin_sign_in("another", "10.0.0.2")


def test_the_addresses_of_a_network_count_as_one(lockout: Lockout) -> None:
    for number in range(FREE_PAIR):
        lockout.begin_sign_in("ada", f"2001:db8::{number:x}")
    assert wait_of(lockout, "ada", "2001:db8::ffff")
    lockout.begin_sign_in("ada", "2001:db8:0:1::1")


def test_many_addresses_keep_an_account_shut_but_not_to_its_owner(lockout: Lockout) -> None:
    lockout.begin_sign_in("ada", "192.168.0.1")
    lockout.succeed("ada", "192.168.0.1")
    for number in range(FREE_NAME):
        lockout.begin_sign_in("ada", f"10.0.{number}.1")
    assert wait_of(lockout, "ada", "10.1.0.1")
    lockout.begin_sign_in("ada", "192.168.0.1")
    lockout.succeed("ada", "192.168.0.1")


def test_an_owner_who_is_known_takes_back_nothing_of_what_others_failed(lockout: Lockout) -> None:
    for _ in range(2):  # the first counts the name as well, since nobody came from there before
        lockout.begin_sign_in("ada", "192.168.0.1")
        lockout.succeed("ada", "192.168.0.1")
    for number in range(FREE_NAME):
        lockout.begin_sign_in("ada", f"10.0.{number}.1")
        lockout.begin_sign_in("ada", "192.168.0.1")
        lockout.succeed("ada", "192.168.0.1")
    assert wait_of(lockout, "ada", "10.1.0.1") == 30


def test_who_signs_in_leaves_nothing_counted(lockout: Lockout) -> None:
    for number in range(3 * FREE_NAME):
        lockout.begin_sign_in(f"user-{number % 7}", "10.0.0.1")
        lockout.succeed(f"user-{number % 7}", "10.0.0.1")


def test_an_own_account_does_not_reset_what_failed_with_others(lockout: Lockout) -> None:
    for number in range(FREE_ADDRESS):
        lockout.begin_sign_in(f"user-{number}", "10.0.0.1")
        if number < FREE_ADDRESS - 1:
            lockout.begin_sign_in("mallory", "10.0.0.1")
            lockout.succeed("mallory", "10.0.0.1")
    assert wait_of(lockout, "victim", "10.0.0.1")


def test_of_many_attempts_at_once_only_the_free_ones_pass(database: Database, clock: Clock) -> None:
    processes = [Lockout(database, clock) for _ in range(4)]

    def attempt(number: int) -> bool:
        try:
            processes[number % 4].begin_sign_in("ada", "10.0.0.1")
        except TooManyError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(40))) == FREE_PAIR


def test_wrong_tokens_count_by_address(lockout: Lockout) -> None:
    for _ in range(FREE_TOKENS):
        lockout.fail_token("10.0.0.1")
    with pytest.raises(TooManyError, match="wait 30 seconds, then use a token that is valid"):
        lockout.fail_token("10.0.0.1")
    lockout.fail_token("10.0.0.2")
    lockout.begin_sign_in("ada", "10.0.0.1")


def test_what_was_typed_is_nowhere_in_the_table_and_old_rows_go(
    lockout: Lockout, database: Database, clock: Clock
) -> None:
    lockout.begin_sign_in("my-password", "10.0.0.1")
    with database.engine.connect() as connection:
        rows = connection.execute(select(attempts)).all()
    assert len(rows) == 3
    assert "my-password" not in str(rows)
    clock.wait(3601)
    lockout.begin_sign_in("ada", "10.0.0.2")
    with database.engine.connect() as connection:
        assert len(connection.execute(select(attempts)).all()) == 3
