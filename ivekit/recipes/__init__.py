"""The recipes that ship with ivekit: each a Python file whose functions' arguments are its settings."""
