"""Answers of the game loop by source, with their latency."""

from collections import Counter
from collections.abc import Sequence
from statistics import median

from gameai.client import Reply


def show(replies: Sequence[Reply], bard: Reply) -> None:
    print(f"    bard: {bard.text!r} ({bard.source.name}, {bard.seconds * 1000:.0f} ms)")
    texts = Counter(reply.text for reply in replies).most_common()
    print(f"    {len(replies)} decisions: {', '.join(f'{many} {text}' for text, many in texts)}")
    for source, count in Counter(reply.source for reply in replies).most_common():
        times = sorted(reply.seconds * 1000 for reply in replies if reply.source is source)
        late = times[int(len(times) * 0.95)]
        print(f"    {source.name:12} {count:5}   p50 {median(times):5.1f} ms   p95 {late:5.1f} ms")
