"""What the demo plant is made of. Every record comes from the same services that pages and API call; every result is computed."""
