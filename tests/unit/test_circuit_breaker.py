from gameai_operator.cluster.circuit_breaker import Breaker


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_single_silence_holds_nothing_back() -> None:
    breaker = Breaker(Clock())
    breaker.missed()
    breaker.missed()
    assert all(breaker.admits() for _ in range(5))


def test_while_no_server_answers_one_request_every_two_seconds_passes() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    for _ in range(3):
        breaker.missed()
    passed = 0
    for _ in range(100):
        passed += breaker.admits()
        clock.now += 0.1
    assert passed == 5


def test_the_first_answer_opens_the_way() -> None:
    breaker = Breaker(Clock())
    for _ in range(10):
        breaker.missed()
    breaker.heard()
    assert all(breaker.admits() for _ in range(5))
