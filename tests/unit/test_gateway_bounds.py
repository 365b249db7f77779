"""What callers make a gateway hold is bounded, and each namespace has its part of it."""

import pytest
from gameai.gateway import coalescing as flights
from gameai.gateway.coalescing import Flight, Flights, Join
from gameai.gateway.dispatch.response_cache import Cache, Key
from gameai.gateway.engines.http_framing import read_chunks, read_head
from gameai.gateway.engines.slot_shares import RECENT_SECONDS, Shares
from gameai.gateway.memory import MemoryLedger
from gameai.gateway.routing.archetypes import CacheRules
from hypothesis import given
from hypothesis import strategies as st

RULES = CacheRules(ttl_seconds=10, stale_grace_seconds=20)


def key(number: int) -> Key:
    return "r1", number.to_bytes(16)


def test_memory_is_divided_among_namespaces_and_then_among_their_worlds() -> None:
    ledger = MemoryLedger(1000)
    assert not ledger.hold("flood/a", 900)
    assert not ledger.full("flood/a")
    # One that comes later has its part although another holds all.
    assert not ledger.hold("calm/a", 400)
    assert not ledger.hold("flood/b", 100)
    assert ledger.full("flood/a")
    assert not ledger.full("calm/a")
    # No world has any beyond three times as much.
    ledger.hold("flood/a", 1000)
    assert not ledger.full("calm/a")
    assert not ledger.full("new/a")
    ledger.hold("flood/a", 1000)
    assert ledger.full("calm/a")
    assert ledger.full("new/a")


@given(
    st.lists(
        st.tuples(st.sampled_from(["a/x", "a/y", "b/x", "c/x"]), st.integers(1, 500)), max_size=40
    )
)
def test_what_is_given_back_leaves_nothing(held: list[tuple[str, int]]) -> None:
    ledger = MemoryLedger(1000)
    for world, size in held:
        ledger.hold(world, size)
    for world, size in reversed(held):
        ledger.hold(world, -size)
    assert (ledger.total, ledger._worlds, ledger._spaces) == (0, {}, {})


def test_a_full_cache_takes_new_answers() -> None:
    cache = Cache(50_000)
    for number in range(1000):
        cache.put("games", key(number), ("patrol", "gold", 0.0))
    assert cache.size <= 50_000
    hits = 0
    for number in range(1000):
        hits += cache.fresh("games", key(10_000 + number % 50), RULES, 1.0) is not None
        cache.put("games", key(10_000 + number % 50), ("patrol", "gold", 0.0))
    assert hits == 950


def test_one_namespace_pushes_out_none_of_another_that_keeps_less() -> None:
    cache = Cache(50_000)
    for number in range(20):
        cache.put("calm", key(number), ("patrol", "gold", 0.0))
    for number in range(5000):
        cache.put("flood", key(number), ("x" * 500, "gold", 0.0))
    assert cache.size <= 50_000
    assert all(cache.fresh("calm", key(number), RULES, 1.0) for number in range(20))


def test_an_answer_is_as_fresh_as_its_reader_says() -> None:
    cache = Cache()
    cache.put("games", key(1), ("patrol", "gold", 100.0))
    long = CacheRules(ttl_seconds=1000)
    assert cache.fresh("games", key(1), RULES, 109.9)
    assert cache.fresh("games", key(1), RULES, 110.0) is None
    assert cache.fresh("games", key(1), long, 1000.0)
    assert cache.stale("games", key(1), RULES, 129.9)
    assert cache.stale("games", key(1), RULES, 130.0) is None
    assert cache.fresh("others", key(1), long, 101.0) is None


def taken(shares: Shares, name: str, slots: int, now: float) -> int:
    """How many requests of a group go, where no end comes."""
    found = 0
    while found < 100 and not shares.full(name, slots, now):
        shares.takes(name, now)
        found += 1
    return found


def test_who_is_alone_takes_all_slots() -> None:
    shares = Shares()
    shares.asks("a", 0.0)
    assert taken(shares, "a", 0, 0.0) == 100
    shares = Shares()
    shares.asks("a", 0.0)
    shares.asks("b", -RECENT_SECONDS)
    assert taken(shares, "a", 16, 0.0) == 16


def test_what_another_took_lately_is_left_free_and_one_more() -> None:
    shares = Shares()
    shares.asks("a", 0.0)
    shares.asks("b", 0.0)
    assert taken(shares, "a", 16, 0.0) == 15
    shares = Shares()
    for _ in range(3):
        shares.takes("b", 0.0)
    for _ in range(3):
        shares.frees("b")
    shares.asks("a", 0.1)
    assert taken(shares, "a", 16, 0.1) == 12
    # Never less than an equal share is left to who asks, nor more to the other.
    shares = Shares()
    for _ in range(50):
        shares.takes("b", 0.0)
    shares.asks("a", 0.1)
    assert taken(shares, "a", 16, 0.1) == 8


def test_a_peak_stays_for_a_moment_though_fewer_take_slots_since() -> None:
    shares = Shares()
    for _ in range(4):
        shares.takes("b", 0.0)
    for _ in range(4):
        shares.frees("b")
    # Too soon after the peak to compare, and then late enough: half of it is left.
    shares.takes("b", 0.01)
    shares.asks("a", 0.01)
    assert taken(shares, "a", 16, 0.01) == 11
    shares.takes("b", 1.0)
    assert shares._groups["b"].peak == 2.0


def test_groups_that_ended_are_forgotten() -> None:
    shares = Shares()
    for number in range(1000):
        shares.asks(str(number), float(number))
    assert len(shares._groups) <= 65


class Waiting:
    """An inquiry as far as a flight sees it."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.waiting = True
        self.flight: Flight[Waiting] | None = None


def test_followers_come_back_with_the_earliest_deadline_first() -> None:
    leader, *followers = [Waiting(each) for each in (5.0, 9.0, 7.0, 8.0)]
    flight = Flight(b"k", leader)
    for each in followers:
        flight.follow(each)
    flight.unfollow(followers[2])
    assert len(flight) == 2
    first = flight.first()
    assert first is not None
    assert first.deadline == 7.0
    assert [each.deadline for each in flight.take_all()] == [9.0]
    assert flight.first() is None


def test_a_namespace_is_overdrawn_only_by_its_own_memory() -> None:
    ledger = MemoryLedger(100)
    ledger.hold("a/", 300)
    assert not ledger.overdrawn("b/")
    ledger.hold("b/", 10)
    assert ledger.overdrawn("a/")
    assert not ledger.overdrawn("b/")
    ledger.hold("a/", -290)
    assert not ledger.overdrawn("a/")


def test_one_that_leads_instead_frees_the_one_that_led() -> None:
    before, after, follower = (Waiting(each) for each in (5.0, 3.0, 9.0))
    flight = Flight(b"k", before)
    before.flight = flight
    flight.follow(follower)
    assert flight.lead(after) is before
    assert flight.leader is after
    assert after.flight is flight
    assert [each for each in (before, follower) if each.flight is flight] == [follower]
    assert len(flight) == 1


def test_a_flight_keeps_no_more_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flights, "MOST_FOLLOWERS", 10)
    flight = Flight(b"k", Waiting(0.0))
    for number in range(200):
        inquiry = Waiting(float(number))
        flight.follow(inquiry)
        if number >= 10:
            flight.unfollow(inquiry)
    assert flight.full
    assert len(flight._heap) <= 21


def test_equal_questions_wait_for_the_one_with_the_least_time() -> None:
    asked: Flights[Waiting] = Flights()
    first, later, sooner, other = (Waiting(each) for each in (5.0, 9.0, 3.0, 4.0))
    assert asked.join(b"k", first) == (Join.LEADS, None)
    assert asked.join(b"k", later) == (Join.FOLLOWS, None)
    assert asked.join(b"k", sooner) == (Join.LEADS, first)
    assert asked.join(b"other", other) == (Join.LEADS, None)
    assert len(asked) == 2
    assert asked.leave(first) is None, "it follows"
    assert asked.disband(sooner) == [first, later]
    assert asked.disband(later) == []
    assert len(asked) == 1


def test_a_running_call_is_not_overtaken() -> None:
    asked: Flights[Waiting] = Flights()
    first, sooner = Waiting(5.0), Waiting(3.0)
    asked.join(b"k", first)
    first.waiting = False
    assert asked.join(b"k", sooner) == (Join.FOLLOWS, None)


def test_a_full_flight_takes_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flights, "MOST_FOLLOWERS", 1)
    asked: Flights[Waiting] = Flights()
    results = [asked.join(b"k", Waiting(5.0))[0] for _ in range(3)]
    assert results == [Join.LEADS, Join.FOLLOWS, Join.FULL]


def test_a_flight_that_was_left_makes_room_for_another() -> None:
    asked: Flights[Waiting] = Flights()
    first, second = Waiting(5.0), Waiting(6.0)
    asked.join(b"k", first)
    flight = asked.leave(first)
    assert flight is not None
    follower = Waiting(7.0)
    flight.promote(follower)
    assert (flight.leader, follower.flight) == (follower, flight)
    asked.close(flight)
    assert asked.join(b"k", second) == (Join.LEADS, None)
    asked.close(flight)
    assert len(asked) == 1, "another flight of the same key stays"


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("head", "length", "chunked"),
    [
        (HEAD + b"Content-Length: 5", 5, False),
        (HEAD + b"content-length:5\r\nContent-Length: 5", 5, False),
        (HEAD + b"Transfer-Encoding:chunked", -1, True),
        (HEAD + b"X: y", -1, False),
        (b"HTTP/1.1 204\r\nX: y", 0, False),
        (b"HTTP/1.1 100 Continue", 0, False),
    ],
)
def test_a_head_says_where_its_body_ends(head: bytes, length: int, chunked: bool) -> None:
    found = read_head(head)
    assert (found.length, found.chunked) == (length, chunked)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.0 200 OK",
        b"HTTP/1.1 20 OK",
        b"HTTP/1.1 101 Switching Protocols",
        HEAD + b"Content-Length: +5",
        HEAD + b"Content-Length: 5_0",
        HEAD + b"Content-Length: 5\r\nContent-Length: 6",
        HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked",
        HEAD + b"Transfer-Encoding: gzip",
        HEAD + b" folded: line",
        HEAD + b"no colon",
    ],
)
def test_a_head_that_could_be_read_in_two_ways_is_refused(head: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        read_head(head)


@pytest.mark.parametrize("data", [b"x" * 300, b"zz\r\n", b"fffff\r\n", b"2\r\nokay\r\n"])
def test_chunks_that_are_malformed_or_too_large_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="chunk"):
        read_chunks(data, 1000)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (read_head, lambda each: read_chunks(each, 1000)):
        try:
            read(data)
        except ValueError:
            continue


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=8), st.integers(1, 40), st.booleans())
def test_chunks_are_read_however_they_are_cut(parts: list[bytes], step: int, trailer: bool) -> None:
    wire = b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in parts) + b"0\r\n"
    wire += b"X: y\r\n\r\n" if trailer else b"\r\n"
    buffer, found, ended = bytearray(), b"", False
    for at in range(0, len(wire), step):
        buffer += wire[at : at + step]
        if ended:
            continue
        chunks, used, ended = read_chunks(buffer, 50)
        found += b"".join(chunks)
        del buffer[:used]
    assert ended
    assert found == b"".join(parts)
    assert bool(buffer) == trailer
