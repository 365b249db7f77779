"""Documents to chunks: read, cut, cleaned, checked, embedded and written, without an LLM."""
