"""The Python client of the memory, before anything is sent."""

from collections.abc import Awaitable, Callable

import pytest
from gameai.client import Memory


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda memory: memory.relations("person", "Tam", kinds="knows"), r"kinds=\['knows'\]"),
        (lambda memory: memory.list_concepts(kinds="person"), r"kinds=\['person'\]"),
        (lambda memory: memory.search("Carrow", audience="adults"), r"audience=\['adults'\]"),
    ],
    ids=["relations", "concepts", "audience"],
)
async def test_one_text_where_a_list_is_needed_is_refused(
    call: Callable[[Memory], Awaitable[object]], words: str
) -> None:
    async with Memory("127.0.0.1:1", world="games/moor") as memory:
        with pytest.raises(TypeError, match=words):
            await call(memory)
