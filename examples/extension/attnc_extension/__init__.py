"""What this package adds to attnc; pyproject.toml names each under its entry point."""
