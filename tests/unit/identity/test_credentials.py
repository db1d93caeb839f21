"""What a process remembers of credentials: for how long, how much, and who waits for whom."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from tests.support.waiting import DEADLINE_SECONDS
from tests.unit.identity.conftest import Clock

from pixelflow.controlplane.credentials import (
    MAX_CHECKS,
    MAX_REMEMBERED,
    MAX_UNRECOGNIZED_LOOKUPS,
    TRUST_SECONDS,
    Credentials,
)
from pixelflow.controlplane.identity import Identity
from pixelflow.errors import StoreUnavailableError, UnauthenticatedError

KEY, SECRET = "pf_k1_s3cret", "s3cret"


@dataclass
class Verifier:
    """Knows some credentials, and answers unless it is held."""

    valid: set[str] = field(default_factory=lambda: {KEY})
    asked: list[str] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    held: set[str] = field(default_factory=set)
    """Credentials whose check waits for ``open``."""

    async def authenticate(self, credential: str, **_: object) -> Identity:
        self.asked.append(credential)
        is_valid = credential in self.valid
        if credential in self.held:
            await self.open.wait()
        if not is_valid:
            raise UnauthenticatedError("no")
        return Identity(credential, frozenset())


@pytest.fixture
def keys() -> Verifier:
    return Verifier()


@pytest.fixture
def credentials(keys: Verifier, clock: Clock) -> Credentials:
    return Credentials(keys, keys, clock=clock)


async def is_valid(credentials: Credentials, credential: str) -> bool:
    try:
        return (await credentials.authenticate(credential)).user_id == credential
    except UnauthenticatedError:
        return False


async def begin() -> None:
    """Let the tasks that were created run until they wait."""
    for _ in range(3):
        await asyncio.sleep(0)


@pytest.mark.parametrize("credential", [KEY, "pf_k1_wrong", "e.y.J"])
async def test_a_check_is_trusted_for_a_moment(
    credentials: Credentials, keys: Verifier, clock: Clock, credential: str
) -> None:
    first = [await is_valid(credentials, credential) for _ in range(9)]
    clock.now += TRUST_SECONDS - 0.01
    await is_valid(credentials, credential)
    assert keys.asked == [credential]
    keys.valid ^= {credential}
    clock.now += 0.01
    assert (await is_valid(credentials, credential), len(keys.asked)) == (not first[0], 2)


async def test_the_trust_begins_when_the_check_begins(credentials: Credentials, keys: Verifier, clock: Clock) -> None:
    """What a slow check has read may be old when it ends."""
    keys.held = {KEY}
    check = asyncio.create_task(is_valid(credentials, KEY))
    await begin()
    clock.now += TRUST_SECONDS
    keys.open.set()
    assert await check
    keys.valid.clear()
    assert not await is_valid(credentials, KEY)


@pytest.mark.parametrize("credential", [KEY, "pf_k1_wrong"])
async def test_concurrent_requests_with_one_credential_share_its_check(
    credentials: Credentials, keys: Verifier, credential: str
) -> None:
    results = await asyncio.gather(*(is_valid(credentials, credential) for _ in range(100)))
    assert (set(results), keys.asked) == ({credential == KEY}, [credential])


async def test_a_request_that_gives_up_does_not_end_the_check_of_the_others(
    credentials: Credentials, keys: Verifier
) -> None:
    keys.held = {KEY}
    first, second = (asyncio.create_task(is_valid(credentials, KEY)) for _ in range(2))
    await begin()
    first.cancel()
    await begin()
    keys.open.set()
    assert await second
    assert keys.asked == [KEY]


async def test_a_failed_check_is_not_remembered(
    credentials: Credentials, keys: Verifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> Identity:
        raise StoreUnavailableError("down")

    with monkeypatch.context() as patch:
        patch.setattr(keys, "authenticate", fail)
        with pytest.raises(StoreUnavailableError):
            await credentials.authenticate(KEY)
    assert await is_valid(credentials, KEY)


async def test_a_forgotten_key_is_checked_again(credentials: Credentials, keys: Verifier) -> None:
    assert await is_valid(credentials, KEY)
    keys.valid.clear()
    credentials.forget_key("k1")
    assert not await is_valid(credentials, KEY)


async def test_a_check_that_read_the_key_before_it_was_forgotten_is_not_remembered(
    credentials: Credentials, keys: Verifier, clock: Clock
) -> None:
    assert await is_valid(credentials, KEY)
    clock.now += TRUST_SECONDS
    keys.held = {KEY}
    check = asyncio.create_task(is_valid(credentials, KEY))
    await begin()
    credentials.forget_key("k1")
    keys.open.set()
    assert await check
    keys.valid.clear()
    assert not await is_valid(credentials, KEY)


async def test_a_wrong_secret_does_not_affect_the_valid_key(credentials: Credentials, keys: Verifier) -> None:
    assert await is_valid(credentials, KEY)
    assert not await is_valid(credentials, f"{KEY}0")
    assert await is_valid(credentials, KEY)
    assert keys.asked == [KEY, f"{KEY}0"]


async def test_recognized_keys_never_wait_for_unknown_ones(
    credentials: Credentials, keys: Verifier, clock: Clock
) -> None:
    assert await is_valid(credentials, KEY)
    clock.now += 3600
    unknown = [f"pf_{number}_guess" for number in range(100)]
    keys.held = set(unknown)
    guesses = [asyncio.create_task(is_valid(credentials, guess)) for guess in unknown]
    await begin()
    async with asyncio.timeout(DEADLINE_SECONDS):
        assert await is_valid(credentials, KEY)
    assert len(keys.asked) == 2 + MAX_UNRECOGNIZED_LOOKUPS
    keys.open.set()
    assert set(await asyncio.gather(*guesses)) == {False}


async def test_the_number_of_unknown_keys_that_wait_is_limited(
    credentials: Credentials, keys: Verifier, clock: Clock
) -> None:
    """Also if the database hangs and the clients have long gone."""
    assert await is_valid(credentials, KEY)
    clock.now += 3600
    unknown = [f"pf_{number}_guess" for number in range(MAX_CHECKS)]
    keys.held = set(unknown)
    guesses = [asyncio.create_task(is_valid(credentials, guess)) for guess in unknown]
    await begin()
    for guess in guesses:
        guess.cancel()
    with pytest.raises(StoreUnavailableError):
        await credentials.authenticate("pf_one_more")
    assert await is_valid(credentials, KEY)
    keys.open.set()
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not await _is_checked(credentials, "pf_one_more"):
            await begin()


async def _is_checked(credentials: Credentials, key: str) -> bool:
    try:
        return not await is_valid(credentials, key)
    except StoreUnavailableError:
        return False


async def test_a_token_never_waits_for_unknown_keys(credentials: Credentials, keys: Verifier) -> None:
    keys.valid = {"e.y.J"}
    keys.held = {f"pf_{number}_guess" for number in range(9)}
    guesses = [asyncio.create_task(is_valid(credentials, guess)) for guess in keys.held]
    await begin()
    async with asyncio.timeout(DEADLINE_SECONDS):
        assert await is_valid(credentials, "e.y.J")
    keys.open.set()
    await asyncio.gather(*guesses)


async def test_little_is_remembered_and_no_credential(credentials: Credentials, keys: Verifier) -> None:
    keys.valid = {f"pf_{number}_{SECRET}" for number in range(MAX_REMEMBERED + 5)}
    keys.valid.add(f"e.{SECRET}")
    for key in sorted(keys.valid):
        await is_valid(credentials, key)
        await is_valid(credentials, f"{key}0")
    assert len(credentials._valid) == len(credentials._invalid) == MAX_REMEMBERED
    assert not credentials._checks
    names = [*credentials._valid._items, *credentials._invalid._items]
    assert not [name for name in names if SECRET in str(name)]
    assert SECRET not in repr([known.digest for known in credentials._valid._items.values()])
