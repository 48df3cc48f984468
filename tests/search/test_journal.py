from __future__ import annotations

import math
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from optprune.errors import JournalError, JournalMismatchError
from optprune.search.journal import Journal
from optprune.search.row import Row

ROOT = Path(__file__).parents[2]
DESCRIPTION = {"space": "Widths(step=1)", "recovery": "Nothing()"}


def row(digest: str, error: float = 0.1) -> Row:
    return Row(
        digest=digest,
        structure="{}",
        widths=(3, 4),
        metrics={"error": error, "macs": 1 / 3},
        violations=(0.0, 0.1),
        reason="macs",
        seconds=0.25,
        forward_samples=7,
    )


def test_rows_come_back_exactly(tmp_path: Path) -> None:
    with Journal(tmp_path / "run.db") as journal:
        journal.bind("f", DESCRIPTION)
        journal.commit("f", 3, "run", [row("a"), row("b", math.nan)], [(0, "a", 0.5)])
    with Journal(tmp_path / "run.db") as journal:
        journal.bind("f", DESCRIPTION)
        rows = journal.rows("f", 3)
        assert rows["a"] == row("a")
        assert math.isnan(rows["b"].metrics["error"])
        assert rows["b"].metrics["macs"] == 1 / 3
        assert journal.uses("f", 3, "run") == {0: ("a", 0.5)}
        assert journal.uses("f", 3, "another run") == {}


def test_seeds_share_a_file_but_no_rows(tmp_path: Path) -> None:
    with Journal(tmp_path / "run.db") as journal:
        journal.bind("f", DESCRIPTION)
        journal.commit("f", 1, "run", [row("a")], [])
        assert set(journal.rows("f", 1)) == {"a"}
        assert journal.rows("f", 2) == {}


def test_seeds_beyond_64_bits_are_kept_apart(tmp_path: Path) -> None:
    with Journal(tmp_path / "run.db") as journal:
        journal.bind("f", DESCRIPTION)
        journal.commit("f", 2**80, "run", [row("a")], [])
        assert set(journal.rows("f", 2**80)) == {"a"}
        assert journal.rows("f", 2**80 + 1) == {}


def test_a_row_that_is_there_stays(tmp_path: Path) -> None:
    with Journal(tmp_path / "run.db") as journal:
        journal.bind("f", DESCRIPTION)
        journal.commit("f", 1, "run", [row("a", 0.1)], [])
        journal.commit("f", 1, "run", [row("a", 0.9)], [])
        assert journal.rows("f", 1)["a"].metrics["error"] == 0.1


def test_another_problem_is_refused_and_told_what_differs(tmp_path: Path) -> None:
    with Journal(tmp_path / "run.db") as journal:
        journal.bind("f", DESCRIPTION)
    with (
        Journal(tmp_path / "run.db") as journal,
        pytest.raises(JournalMismatchError) as caught,
    ):
        journal.bind("g", DESCRIPTION | {"space": "Widths(step=4)"})
    assert "space differs: Widths(step=1) in the journal, Widths(step=4) here" in str(caught.value)
    assert "recovery" not in str(caught.value)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    path.write_bytes(b"this is not a database" * 100)
    with pytest.raises(JournalError, match="Move the file away"):
        Journal(path)
    assert path.read_bytes() == b"this is not a database" * 100


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE photographs (name TEXT)")
    connection.close()
    with pytest.raises(JournalError, match="another program"):
        Journal(path)


def test_a_journal_of_a_later_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    Journal(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(JournalError, match="format 99"):
        Journal(path)


@pytest.mark.parametrize("place", [0.1, 0.4, 0.7])
def test_a_damaged_journal_is_refused(tmp_path: Path, place: float) -> None:
    path = tmp_path / "run.db"
    with Journal(path) as journal:
        journal.bind("f", DESCRIPTION)
        journal.commit("f", 1, "run", [row(f"{i:040d}") for i in range(500)], [])
    content = bytearray(path.read_bytes())
    start = int(place * len(content))
    content[start : start + 8192] = b"\xa5" * len(content[start : start + 8192])
    path.write_bytes(bytes(content))

    def read() -> None:
        with Journal(path) as journal:
            journal.bind("f", DESCRIPTION)
            journal.rows("f", 1)

    with pytest.raises(JournalError, match="Move the file away"):
        read()


def test_a_row_that_is_no_row_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    with Journal(path) as journal:
        journal.bind("f", DESCRIPTION)
        journal.commit("f", 1, "run", [row("a")], [])
    connection = sqlite3.connect(path)
    connection.execute('UPDATE row SET content = \'{"digest": "a"}\'')
    connection.commit()
    connection.close()
    with Journal(path) as journal, pytest.raises(JournalError, match="row 'a'"):
        journal.rows("f", 1)


def test_a_missing_folder_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="does not exist"):
        Journal(tmp_path / "nowhere" / "run.db")
    with pytest.raises(JournalError, match="is a folder"):
        Journal(tmp_path)


def test_an_empty_file_becomes_a_journal(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    path.touch()
    with Journal(path) as journal:
        journal.bind("f", DESCRIPTION)
        assert journal.rows("f", 1) == {}


def test_committed_rows_survive_sigkill(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    script = """
import sys
sys.path.insert(0, sys.argv[2])
from tests.search.test_journal import DESCRIPTION, row
from optprune.search.journal import Journal
journal = Journal(sys.argv[1])
journal.bind("f", DESCRIPTION)
number = 0
while True:
    journal.commit("f", 1, "run", [row(str(number))], [(number, str(number), 0.0)])
    print(number, flush=True)
    number += 1
"""
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path), str(ROOT)],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        seen = -1
        for line in process.stdout:
            seen = int(line)
            if seen >= 50:
                os.kill(process.pid, signal.SIGKILL)
                break
        process.stdout.read()
    with Journal(path) as journal:
        journal.bind("f", DESCRIPTION)
        rows, uses = journal.rows("f", 1), journal.uses("f", 1, "run")
    assert len(rows) > seen
    assert set(rows) == {str(number) for number in range(len(rows))}
    assert {digest for digest, _ in uses.values()} == set(rows)


def test_a_full_disk_is_our_error_and_keeps_what_was_committed(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    script = """
import resource, sys
sys.path.insert(0, sys.argv[2])
from tests.search.test_journal import DESCRIPTION, row
from optprune.errors import JournalError
from optprune.search.journal import Journal
journal = Journal(sys.argv[1])
journal.bind("f", DESCRIPTION)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
number = 0
try:
    while number < 10_000:
        journal.commit("f", 1, "run", [row(str(number))], [])
        number += 1
except JournalError as error:
    print(number, "free some space" in str(error))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(path), str(ROOT)],
        capture_output=True,
        text=True,
        check=True,
    )
    committed, told = done.stdout.split()
    assert told == "True"
    assert 0 < int(committed) < 10_000
    with Journal(path) as journal:
        journal.bind("f", DESCRIPTION)
        assert set(journal.rows("f", 1)) == {str(number) for number in range(int(committed))}
