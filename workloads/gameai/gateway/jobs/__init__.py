"""Jobs: questions that wait for a Bronze tier, kept on the event bus."""
