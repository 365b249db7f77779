"""One final answer for each question: from an engine, the cache, or the fallback chain."""
