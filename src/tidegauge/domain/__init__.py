"""The nouns, their rules and states; pure."""
