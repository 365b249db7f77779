"""The world's calendar and the phases of its day."""
