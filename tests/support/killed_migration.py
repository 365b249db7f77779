"""A program: migrates a database and kills a process before a statement of its own. Prints how many statements there were.

python killed_migration.py URL NUMBER PROCESS    NUMBER 0: kill nothing; PROCESS 0: this one
"""

import os
import signal
import sys
from itertools import count
from typing import Any

from gameai.knowledge.embedding.local import DIMENSIONS, MODEL
from gameai.knowledge.migrations import MigrationError, migrate
from sqlalchemy import event
from sqlalchemy.engine import Engine

FAILED = 3
_STATEMENTS = count(1)


def main(url: str, number: int, victim: int) -> int:
    """Exits with `FAILED` where the migration fails, which the killed database makes it do."""
    last = 0

    def before(*_: Any) -> None:
        nonlocal last
        last = next(_STATEMENTS)
        if last == number:
            os.kill(victim or os.getpid(), signal.SIGKILL)

    event.listen(Engine, "before_cursor_execute", before)
    # The end of the transaction is a step too.
    event.listen(Engine, "commit", before)
    try:
        migrate(url, MODEL, DIMENSIONS)
    except MigrationError as error:
        print(error)
        return FAILED
    print(last)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
