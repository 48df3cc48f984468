from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from optprune.search.turns import Turns


def test_who_is_alone_is_alone_and_all_get_their_turn() -> None:
    turns = Turns()
    lock = threading.Lock()
    busy = 0
    alone = 0
    seen: list[tuple[int, int]] = []

    def note() -> None:
        with lock:
            seen.append((busy, alone))
        time.sleep(0.0005)

    def job(number: int) -> None:
        nonlocal busy, alone
        with turns.together():
            with lock:
                busy += 1
            note()
            if number % 2:
                with lock:
                    busy -= 1
                with turns.alone():
                    with lock:
                        alone += 1
                    note()
                    with lock:
                        alone -= 1
                with lock:
                    busy += 1
            note()
            with lock:
                busy -= 1

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(job, range(40)))
    assert len(seen) == 100
    assert all((busy, alone) == (0, 1) or not alone for busy, alone in seen)
    assert max(busy for busy, _ in seen) > 1


def test_an_error_gives_the_turn_back() -> None:
    turns = Turns()
    for _ in range(2):
        try:
            with turns.together(), turns.alone():
                raise LookupError
        except LookupError:
            pass
    with turns.together():
        pass
