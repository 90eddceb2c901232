"""What the package shares with services: pydantic and the standard library only."""
