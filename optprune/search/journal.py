"""The journal: every evaluated proposal in one SQLite file, safe against SIGKILL.

Rows are facts about proposals, known by the fingerprint of the problem, the seed, and the digest of
the proposal. Uses say in which order, and when, a run used them first. Together they are the
resume: a run started again proposes the same, finds its rows, and goes on.

Rows are only ever appended: an index of their digests would have every commit touch as many pages
of the file as it has rows. Of two rows of a digest, which two processes may write, the first holds.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from optprune.errors import JournalError, JournalMismatchError, LoadError
from optprune.search.row import Row

__all__ = ["Journal"]

_APPLICATION = 0x6F707470  # "optp": tells a journal from other SQLite files
_FORMAT = 2
_CHECKPOINT = 8000  # pages of the log (32 MB) after which it is folded in, which waits for the disk
_TABLES = """
CREATE TABLE problem (fingerprint TEXT PRIMARY KEY, description TEXT NOT NULL);
CREATE TABLE run (
    id INTEGER PRIMARY KEY,
    fingerprint TEXT NOT NULL, seed TEXT NOT NULL, configuration TEXT NOT NULL,
    UNIQUE (fingerprint, seed, configuration)
);
CREATE TABLE row (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES run, digest TEXT NOT NULL, content TEXT NOT NULL
);
CREATE TABLE use (
    run INTEGER NOT NULL REFERENCES run, number INTEGER NOT NULL,
    digest TEXT NOT NULL, clock REAL NOT NULL,
    PRIMARY KEY (run, number)
) WITHOUT ROWID;
"""


class Journal:
    """A file with the rows of one problem, for any number of seeds and optimizers.

    Parameters
    ----------
    path : str or Path
        The file; made when it does not exist. ``":memory:"`` keeps the rows in memory only.

    Raises
    ------
    JournalError
        If the file cannot be opened, is damaged, is no journal, or was written in a format that
        this version does not read.

    Notes
    -----
    SQLite in WAL mode with ``synchronous=NORMAL``: a transaction that was committed survives the
    death of the process, though not always the loss of power.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        if self.path != ":memory:":
            folder = Path(self.path).absolute().parent
            if not folder.is_dir():
                raise JournalError(
                    f"journal: the folder {str(folder)!r} does not exist; make it first."
                )
            if Path(self.path).is_dir():
                raise JournalError(f"journal: {self.path!r} is a folder; name a file in it.")
        try:
            self._connection = sqlite3.connect(self.path, timeout=30.0, isolation_level=None)
        except sqlite3.Error as error:
            raise JournalError(f"journal: {self.path!r} cannot be opened: {error}.") from error
        try:
            with self._translated("open"):
                self._prepare()
        except JournalError:
            self._connection.close()
            raise

    def bind(self, fingerprint: str, description: Mapping[str, str]) -> None:
        """Say which problem the rows belong to.

        Parameters
        ----------
        fingerprint : str
            The fingerprint of the problem.
        description : mapping of str to str
            The parts of the problem in words, kept to say what differs later.

        Raises
        ------
        JournalMismatchError
            If the file holds the rows of another problem; it says what differs.
        JournalError
            If the file cannot be read or written.
        """
        with self._translated("read"):
            known = self._connection.execute(
                "SELECT fingerprint, description FROM problem"
            ).fetchall()
        if not known:
            with self._translated("write"), self._transaction():
                self._connection.execute(
                    "INSERT INTO problem VALUES (?, ?)",
                    (fingerprint, json.dumps(dict(description))),
                )
            return
        if all(theirs != fingerprint for theirs, _ in known):
            raise JournalMismatchError(
                f"journal {self.path!r} holds the rows of another problem: "
                f"{_differences(known[0][1], description)}. Use another file for this problem, or "
                "go back to the problem that the file was begun with."
            )

    def rows(self, fingerprint: str, seed: int) -> dict[str, Row]:
        """Return the rows of a problem and seed by the digest of their proposal.

        Raises
        ------
        JournalError
            If the file cannot be read or holds something that is not a row.
        """
        with self._translated("read"):
            found = self._connection.execute(
                "SELECT digest, content FROM row JOIN run ON run.id = row.run "
                "WHERE fingerprint = ? AND seed = ? ORDER BY row.id",
                (fingerprint, str(seed)),
            ).fetchall()
        rows: dict[str, Row] = {}
        for digest, content in found:
            if digest in rows:
                continue
            try:
                row = Row.from_json(content)
            except LoadError as error:
                raise self._damaged(f"row {digest!r} cannot be read: {error}") from error
            if row.digest != digest:
                raise self._damaged(f"row {digest!r} holds the proposal {row.digest!r}")
            rows[digest] = row
        return rows

    def uses(self, fingerprint: str, seed: int, run: str) -> dict[int, tuple[str, float]]:
        """Return digest and clock of every use of a run, by its number.

        Raises
        ------
        JournalError
            If the file cannot be read.
        """
        with self._translated("read"):
            found = self._connection.execute(
                "SELECT number, digest, clock FROM use JOIN run ON run.id = use.run "
                "WHERE fingerprint = ? AND seed = ? AND configuration = ?",
                (fingerprint, str(seed), run),
            ).fetchall()
        return {number: (digest, clock) for number, digest, clock in found}

    def commit(
        self,
        fingerprint: str,
        seed: int,
        run: str,
        rows: Iterable[Row],
        uses: Iterable[tuple[int, str, float]],
    ) -> None:
        """Write rows and uses in one transaction.

        Parameters
        ----------
        fingerprint : str
            The fingerprint of the problem.
        seed : int
            The seed of the run.
        run : str
            The configuration of the optimizer.
        rows : iterable of Row
            New rows; a row that is there already stays.
        uses : iterable of (int, str, float)
            Number in the run, digest and clock (seconds) of each first use.

        Raises
        ------
        JournalError
            If the file cannot be written, for instance on a full disk; what was committed before
            stays, and nothing of this transaction is written.
        """
        with self._translated("write"), self._transaction():
            number = self._number(fingerprint, str(seed), run)
            self._connection.executemany(
                "INSERT INTO row (run, digest, content) VALUES (?, ?, ?)",
                [(number, row.digest, row.to_json()) for row in rows],
            )
            self._connection.executemany(
                "INSERT OR REPLACE INTO use VALUES (?, ?, ?, ?)",
                [(number, *use) for use in uses],
            )

    def _number(self, *run: str) -> int:
        """Return the number of a run in this file; one that is not there yet gets one."""
        query = self._connection.execute
        query("INSERT OR IGNORE INTO run (fingerprint, seed, configuration) VALUES (?, ?, ?)", run)
        return int(
            query(
                "SELECT id FROM run WHERE fingerprint = ? AND seed = ? AND configuration = ?", run
            ).fetchone()[0]
        )

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Journal({self.path!r})"

    def _prepare(self) -> None:
        """Check that the file is a sound journal, or make it one."""
        query = self._connection.execute
        tables = query("SELECT count(*) FROM sqlite_master").fetchone()[0]
        application = query("PRAGMA application_id").fetchone()[0]
        if tables and application != _APPLICATION:
            raise JournalError(
                f"journal: {self.path!r} is a SQLite file of another program; name another file."
            )
        if tables:
            written = query("PRAGMA user_version").fetchone()[0]
            if written != _FORMAT:
                raise JournalError(
                    f"journal: {self.path!r} is written in format {written}; this version of "
                    f"optprune reads format {_FORMAT}. Install the version that wrote it, or name "
                    "another file."
                )
            sound = query("PRAGMA quick_check(1)").fetchone()[0]
            if sound != "ok":
                raise self._damaged(sound)
        query("PRAGMA journal_mode = WAL")
        query("PRAGMA synchronous = NORMAL")
        query(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT}")
        if not tables:
            with self._transaction():
                # Another process may have been first.
                if not query("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                    for statement in _TABLES.split(";"):
                        query(statement)
                    query(f"PRAGMA application_id = {_APPLICATION}")
                    query(f"PRAGMA user_version = {_FORMAT}")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Commit what is done inside, or nothing of it."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        """Turn SQLite's errors into ours."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise JournalError(
                f"journal: cannot {what} {self.path!r}: {error}. What was committed before is "
                "kept: free some space or give access to the file, and start the run again with "
                "the same seed; it goes on from there."
            ) from error
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise self._damaged(str(error)) from error

    def _damaged(self, why: str) -> JournalError:
        """Return the error for a file that cannot be trusted."""
        return JournalError(
            f"journal {self.path!r} is damaged or no journal ({why}). Move the file away "
            "(with its -wal and -shm beside it) and start the run again; or name another file."
        )


def _differences(theirs: str, ours: Mapping[str, str]) -> str:
    """Say in which parts two problems differ."""
    try:
        there = json.loads(theirs)
    except ValueError:
        there = None
    if not isinstance(there, dict):
        return "its description cannot be read"
    parts = [key for key in ours if there.get(key) != ours[key]]
    parts += [key for key in there if key not in ours]
    if not parts:
        return "it looks the same in words, but its fingerprint differs"
    return "; ".join(
        f"{key} differs: {there.get(key, 'nothing')} in the journal, "
        f"{ours.get(key, 'nothing')} here"
        for key in parts
    )
