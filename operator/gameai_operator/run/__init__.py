"""The processes that the operator's image can be: what observes, apart from what acts."""
