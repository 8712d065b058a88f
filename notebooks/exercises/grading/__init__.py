"""The grader's own code; students never get it."""
